"""What an objective asks of a model, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.batch import Batch
from mmvae.distributions import MixtureOfExperts
from mmvae.objectives.judging import BY_ELBO, BY_LOSS, Judge
from mmvae.objectives.schedules import LinearWarmup, Weight
from mmvae.posteriors import Experts, JointNetwork, JointPosterior
from mmvae.words import Words, declare_terms

declare_terms(
    Words(
        "elbo",
        "ELBO",
        "Evidence lower bound of the joint posterior, without any weight.",
        unit="nats per datum",
        better="higher",
    ),
    Words(
        "kl",
        "KL from the prior",
        "Divergence of the joint posterior from the prior.",
        unit="nats per datum",
        better="lower",
    ),
    of_bound=True,
)


@runtime_checkable
class Generative(Protocol):
    """A generative model as objectives see it: experts, joint posterior, scores and prior."""

    weights: dict[str, float]
    epoch: Tensor
    names: tuple[str, ...]

    @property
    def experts(self) -> Callable[[Batch], Experts]:
        """Gives the unimodal posteriors of a batch."""

    @property
    def joint_posterior(self) -> JointPosterior:
        """Gives q(z | x), from a batch and the experts."""

    @property
    def prior(self) -> Callable[[Tensor | None], Distribution]:
        """Gives p(z), or p(z | c) given encoded covariates."""

    def score(
        self, batch: Batch, z: Float[Tensor, "*P N D"], rows: Mapping[str, Tensor] | None = None
    ) -> dict[str, Float[Tensor, "*Q N"]]:
        """log p(x_m | z) of every modality of the batch by name, in nats; zero where it is missing."""


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss and what it is made of.

    Attributes:
        total: A scalar to call ``backward()`` on, mean per row.
        terms: Scalars in nats by name, without modality or KL weights: the expected log-likelihood under each
            modality's name (mean over the rows that have it), ``"kl"`` from the prior, ``"elbo"`` of the joint
            posterior, and further ones of the objective, each a mean per row of the batch.
        rows: Number of rows behind a term, by name, where it is not the whole batch.
    """

    total: Tensor
    terms: dict[str, Tensor]
    rows: dict[str, Tensor] = field(default_factory=dict)


class Objective(Remembers, ABC):
    """A training objective over the modalities of a model.

    Attributes:
        beta: Weight of the KL term.
        weighs_draws: Whether it takes the exponential of log-densities, as importance weights do.
    """

    beta: Weight = 1.0
    weighs_draws: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch that conforms to the model."""

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares when a model is trained for this objective.

        The ELBO, if the loss is made of plain ELBOs: all modality weights are 1, so is beta at the end of its schedule,
        and the model adds no further terms. Otherwise the loss itself, since the ELBO in nats is then not what training
        improves. The loss judges models with a part that is frozen as a whole, too: if the decoders do not learn, the
        ELBO may not move.

        Args:
            model: To train; parts that do not learn require no gradients.
        """
        beta = self.beta.end if isinstance(self.beta, LinearWarmup) else self.beta
        is_plain = all(weight == 1 for weight in (beta, *model.weights.values()))
        parts = [list(part.parameters()) for part in model.children()] if isinstance(model, nn.Module) else []
        is_whole = all(any(each.requires_grad for each in part) for part in parts if part)
        has_more = bool(getattr(model, "further_terms", None))
        return BY_ELBO if is_plain and is_whole and not has_more else BY_LOSS

    @property
    def settled_after(self) -> float:
        """Number of epochs after which no weight of this objective changes any more; validation uses these weights."""
        return max((each.epochs for each in vars(self).values() if isinstance(each, LinearWarmup)), default=0.0)

    def refusal(self, posterior: JointPosterior) -> str | None:
        """Reason why this objective cannot train with a joint posterior, and what to pair instead; ``None`` if it can.

        The reason is a whole sentence that follows the names of both.
        """
        if posterior.learns_weights:
            return (
                "The weights of this mixture depend on the data, and single draws give them no gradient. Pair it with "
                "StratifiedELBO or StratifiedIWAE."
            )
        return None


def untrained_experts(posterior: JointPosterior) -> str | None:
    """Refusal of objectives that train the joint posterior alone, by a posterior with networks of its own."""
    if isinstance(posterior, JointNetwork):
        return (
            "It would train the joint networks alone and leave the unimodal posteriors, from which every other subset "
            "is inferred, untrained. Pair it with AlignedELBO, TotalCorrelation or SubsetELBO."
        )
    return None


def check_pair(posterior: JointPosterior, objective: Objective) -> None:
    """Refuse a posterior and an objective that cannot train together.

    Raises:
        ValueError: Names both, and says what to pair instead.
    """
    reason = objective.refusal(posterior)
    if reason is not None:
        raise ValueError(f"{type(posterior).__name__} with {type(objective).__name__}: {reason}")


def joint_posterior(model: Generative, batch: Batch) -> Distribution:
    """q(z | x) from all modalities that the batch holds."""
    return model.joint_posterior(batch, model.experts)


def posterior_and_experts(model: Generative, batch: Batch) -> tuple[Distribution, Experts]:
    """q(z | x) and the unimodal posteriors; every encoder runs once."""
    experts = model.experts(batch)
    return model.joint_posterior(batch, lambda _: experts), experts


def one_draw(posterior: Distribution) -> Float[Tensor, "N D"]:
    """One draw for each row; of mixtures stratified over the batch."""
    return posterior.batch_rsample() if isinstance(posterior, MixtureOfExperts) else posterior.rsample()


def weighted_sum(log_likelihoods: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Σ_m w_m log p(x_m | z), of the shape of its summands."""
    summands = [log_p if weights[name] == 1 else weights[name] * log_p for name, log_p in log_likelihoods.items()]
    return sum(summands[1:], start=summands[0])


def make_loss(total: Tensor, batch: Batch, log_likelihoods: Mapping[str, Tensor], kl: Tensor, **others: Tensor) -> Loss:
    """A loss with the terms that every objective has: modalities, ``"kl"``, ``"elbo"``, and further ones.

    Args:
        total: Scalar to minimise.
        batch: N rows.
        log_likelihoods: E[log p(x_m | z)] of each row, ``{name: [N]}``, zero where it is missing.
        kl: Divergence from the prior, ``[N]``.
        **others: Further scalars by name.
    """
    *means, mean_kl = torch.stack([*log_likelihoods.values(), kl]).mean(1).unbind()
    elbo = sum(means, start=-mean_kl)
    terms = dict(zip(log_likelihoods, means, strict=True))
    rows = {} if batch.complete else {name: batch.observed[name].sum() for name in log_likelihoods}
    for name, count in rows.items():  # zeros of missing rows are in the mean over the batch
        terms[name] = terms[name] * batch.size / count.clamp(min=1)
    return Loss(total, {**terms, "kl": mean_kl, "elbo": elbo, **others}, rows)
