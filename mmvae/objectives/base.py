"""What an objective is given, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.batch import Batch
from mmvae.distributions.mixture import MixtureOfExperts
from mmvae.objectives.judging import ELBO, LOSS, Judge
from mmvae.objectives.schedules import LinearWarmup, Weight


@runtime_checkable
class Trainable(Protocol):
    """What an objective may ask of a model; every model of the library offers it."""

    weights: dict[str, float]
    epoch: Tensor
    names: tuple[str, ...]

    @property
    def prior(self) -> Any:
        """Called without arguments, p(z)."""

    @property
    def experts(self) -> Any:
        """Called on a batch, the unimodal posteriors."""

    @property
    def joint_posterior(self) -> Any:
        """Called on a batch and the experts, q(z | x)."""

    def generative(self, batch: Batch, rows: Mapping[str, Tensor] | None = None) -> Tensor:
        """The Pyro program of p(z) Π_m p(x_m | z)."""


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss and what it is made of.

    Attributes:
        total: a scalar to call ``backward()`` on, mean per datum.
        terms: by name, scalars in nats, mean per datum, without modality or KL weights: the expected log-likelihood
            under each modality's name, ``"kl"`` from the prior, ``"elbo"`` of the joint posterior (or, for
            importance-weighted objectives, the bound), and what else the objective adds.
    """

    total: Tensor
    terms: dict[str, Tensor]


class Objective(Remembers, ABC):
    """A training objective over the modalities of a model.

    Attributes:
        beta: Weight of the KL term.
    """

    beta: Weight = 1.0

    @abstractmethod
    def __call__(self, model: Trainable, batch: Batch) -> Loss:
        """The loss of a batch that conforms to the model."""

    def judged_by(self, model: Trainable) -> Judge:
        """What validation compares when a model is trained for this objective.

        The ELBO, if the loss is made of plain ELBOs: all modality weights are 1, and so is beta at the end of its
        schedule. Otherwise the loss itself, since the ELBO in nats is then not what training improves. The loss judges
        models with a part that is frozen as a whole, too: if the decoders do not learn, the ELBO may not move.

        Args:
            model: To train; parts that do not learn require no gradients.
        """
        beta = self.beta.end if isinstance(self.beta, LinearWarmup) else self.beta
        is_plain = all(weight == 1 for weight in (beta, *model.weights.values()))
        parts = [list(part.parameters()) for part in model.children()] if isinstance(model, nn.Module) else []
        is_whole = all(any(each.requires_grad for each in part) for part in parts if part)
        return ELBO if is_plain and is_whole else LOSS

    @property
    def settled_after(self) -> float:
        """Number of epochs after which no weight of this objective changes any more; validation uses these weights."""
        return max((each.epochs for each in vars(self).values() if isinstance(each, LinearWarmup)), default=0.0)

    def capture_obstacle(self, batch: Batch) -> str | None:
        """Why training steps on batches like this one cannot be captured as a CUDA graph, in words that end a sentence.

        ``None`` where they can: Python then looks at no value of a tensor, draws nothing at random itself, and takes
        nothing from the memory of the CPU.
        """
        return None


def weighted_sum(log_likelihoods: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Σ_m w_m log p(x_m | z), of the shape of its summands.

    The weights multiply here rather than as ``poutine.scale`` in the program, so that the same trace also gives the
    honest terms.
    """
    summands = [log_p if weights[name] == 1 else weights[name] * log_p for name, log_p in log_likelihoods.items()]
    return sum(summands[1:], start=summands[0])


def elbo_terms(log_likelihoods: Mapping[str, Tensor], kl: Tensor) -> dict[str, Tensor]:
    """The terms of a plain ELBO, averaged over the data: one per modality, ``"kl"`` and ``"elbo"``."""
    terms = {name: log_p.mean() for name, log_p in log_likelihoods.items()}
    kl = kl.mean()
    return {**terms, "kl": kl, "elbo": sum(terms.values(), start=-kl)}


def joint_posterior(model: Trainable, batch: Batch) -> Distribution:
    """q(z | x) from all modalities that the batch holds."""
    return model.joint_posterior(batch, model.experts)


def mixture_posterior(model: Trainable, batch: Batch) -> MixtureOfExperts:
    """:func:`joint_posterior`, for objectives that speak of its components.

    Raises:
        TypeError: if the model's joint posterior is no mixture.
    """
    posterior = joint_posterior(model, batch)
    if not isinstance(posterior, MixtureOfExperts):
        raise TypeError(
            f"this objective is for mixtures, but the joint posterior {type(model.joint_posterior).__name__} gives "
            f"{type(posterior).__name__}; pair it with Mixture or MixtureOfProducts, or take another objective."
        )
    return posterior
