"""Objectives in which the posterior of every subset explains all modalities of a row (DMVAE, CoDE-VAE)."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import Protocol, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions import Blocks, divergence, select_columns
from mmvae.objectives.base import Generative, Loss, make_loss, weighted_sum
from mmvae.objectives.chunks import ChunkedObjective, ChunkSize, Scores
from mmvae.objectives.judging import BY_LOSS, Judge
from mmvae.objectives.schedules import Weight, checked, is_amount, weight_at
from mmvae.posteriors import Experts, JointPosterior
from mmvae.subsets import powerset, to_mask
from mmvae.words import Words, declare_terms


class _CrossSubsets(ChunkedObjective):
    """Σ_S a_S (E_{q_S}[Σ_m w_m log p(x_m | z)] - β KL(q_S || p)), where m runs over all modalities that a row has.

    Private columns follow their owner whatever the subset, so that no modality has to explain the detail of another.
    """

    def __init__(self, beta: Weight, chunk_size: ChunkSize) -> None:
        super().__init__(chunk_size)
        self.beta = checked("beta", beta)

    def refusal(self, posterior: JointPosterior) -> str | None:
        """The posterior must give several subsets at once."""
        if posterior.gives_subsets:
            return super().refusal(posterior)
        return (
            "It needs several subsets at once, and this posterior gives one. Derive the posterior from Fusion, or pair "
            "it with ELBO."
        )

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch."""
        experts = model.experts(batch)
        members = self._members(model, batch)
        amounts = self._amounts(model, experts, members)  # [S, N]
        posterior = of_subsets_with_private(model, batch, experts, members)
        z = posterior.rsample()  # [S, N, D]
        kl = divergence(posterior, model.prior(batch.context), z)  # [S, N]

        def score(rows: slice) -> Scores:
            return model.score(batch[rows], z[:, rows])

        log_p = self._in_chunks(score, z, axis=1)  # across the rows, each of which has all subsets
        each = weight_at(self.beta, model.epoch) * kl - weighted_sum(log_p, model.weights)
        total = (amounts * each).sum(0).mean() - self._bonus(amounts)
        whole = {name: values[0] for name, values in log_p.items()}
        return make_loss(total, batch, whole, kl[0], **self._further_terms(amounts))

    @abstractmethod
    def _members(self, model: Generative, batch: Batch) -> Bool[Tensor, "S M"]:
        """The subsets, of which the first is everything that the batch holds."""

    @abstractmethod
    def _amounts(self, model: Generative, experts: Experts, members: Bool[Tensor, "S M"]) -> Float[Tensor, "S N"]:
        """The weight a_S of each subset in each row."""

    def _bonus(self, amounts: Float[Tensor, "S N"]) -> Tensor | float:
        return 0.0

    def _further_terms(self, amounts: Float[Tensor, "S N"]) -> dict[str, Tensor]:
        return {}


def of_subsets_with_private(
    model: Generative, batch: Batch, experts: Experts, members: Bool[Tensor, "S M"]
) -> Distribution:
    """The posteriors of several subsets, in which private columns follow their owner also where it is not a member."""
    posterior = model.joint_posterior.of_subsets(batch, experts, members)
    layout = experts.layout
    if layout.is_shared:
        return posterior
    whole = select_columns(model.joint_posterior(batch, lambda _: experts), slice(layout.shared, None))
    return Blocks([select_columns(posterior, layout.columns()), whole.expand(posterior.batch_shape)])


class CrossSubsetELBO(_CrossSubsets):
    """ELBO(q_X) + Σ_m ELBO(q_m), where the posterior of each modality alone explains all modalities that a row has.

    Each of the |S| + 1 bounds of a row has all KL terms of its private latents. Where a KL has no closed form, it is
    estimated from the draw that is scored.

    Args:
        beta: KL weight.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MVAE`.

    Source: Lee and Pavlovic 2021, "Private-shared disentangled multimodal VAE for learning of latent representations".
    """

    def __init__(self, beta: Weight = 1.0, chunk_size: ChunkSize = None) -> None:
        super().__init__(beta, chunk_size)

    def _members(self, model: Generative, batch: Batch) -> Bool[Tensor, "S M"]:
        return _whole_and_singles(len(batch.names), batch.device)

    def _amounts(self, model: Generative, experts: Experts, members: Bool[Tensor, "S M"]) -> Float[Tensor, "S N"]:
        return torch.cat([torch.ones_like(experts.weights[:1]), experts.weights])


class HasSubsetWeights(Generative, Protocol):
    """A model that learns how much each subset of its modalities counts."""

    @property
    def subset_logits(self) -> nn.Parameter:
        """One number for each subset of :func:`subsets_whole_first`."""


declare_terms(
    Words(
        "entropy",
        "Entropy of the subset weights",
        "How evenly training counts the subsets; at most the logarithm of their number.",
        unit="nats",
    ),
    of_bound=True,
)


class ConsensusELBO(_CrossSubsets):
    """Σ_S π_S ELBO(q_S) + η H(π), where every subset explains all modalities that a row has, and π is learned.

    The subsets of a row are those whose modalities it has, among which π is normalised.

    Args:
        beta: KL weight.
        entropy: η, weight of the entropy of π, in the loss of each row.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MVAE`.

    Raises:
        ValueError: For weights below zero.

    Source: Mancisidor et al. 2025, "Aggregation of dependent expert distributions in multimodal variational
    autoencoders".
    """

    def __init__(self, beta: Weight = 1.0, entropy: float = 1000.0, chunk_size: ChunkSize = None) -> None:
        super().__init__(beta, chunk_size)
        if not is_amount(entropy):
            raise ValueError(f"entropy: expected a finite number of at least 0, got {entropy!r}.")
        self.entropy = entropy

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the loss, since training does not raise the ELBO of the whole alone."""
        return BY_LOSS

    def _members(self, model: Generative, batch: Batch) -> Bool[Tensor, "S M"]:
        return subsets_whole_first(model.names, batch.names, batch.device)[0]

    def _amounts(self, model: Generative, experts: Experts, members: Bool[Tensor, "S M"]) -> Float[Tensor, "S N"]:
        members, places = subsets_whole_first(model.names, experts.names, experts.loc.device)
        logits = cast(HasSubsetWeights, model).subset_logits.index_select(0, places)
        among = members.to(experts.loc.dtype)
        has = among @ experts.weights.to(among.dtype) == among.sum(1, keepdim=True)  # [S, N]
        return torch.where(has, logits.unsqueeze(1), -torch.inf).softmax(0)

    def _bonus(self, amounts: Float[Tensor, "S N"]) -> Tensor | float:
        return self.entropy * _entropy(amounts)

    def _further_terms(self, amounts: Float[Tensor, "S N"]) -> dict[str, Tensor]:
        return {"entropy": _entropy(amounts)}


def _entropy(amounts: Float[Tensor, "S N"]) -> Tensor:
    """H(π) in nats, mean over the rows."""
    has = amounts > 0
    return -(amounts * torch.where(has, amounts, 1.0).log()).sum(0).mean()


@lru_cache
def subsets_whole_first(
    everyone: tuple[str, ...], names: tuple[str, ...], device: torch.device
) -> tuple[Bool[Tensor, "S M"], Tensor]:
    """All non-empty subsets of the modalities of a batch, the whole first, and their places among those of the model.

    They are the same at each step, and so kept on the device: a step that copied them there would wait.
    """
    with torch.inference_mode(False):  # they outlive the mode in which they are first asked for
        subsets = [subset for subset in powerset(everyone)[::-1] if set(subset) <= set(names)]
        order = powerset(everyone)[::-1]
        places = torch.tensor([order.index(subset) for subset in subsets])
        return to_mask(subsets, names).to(device), places.to(device)


@lru_cache
def _whole_and_singles(count: int, device: torch.device) -> Bool[Tensor, "S M"]:
    """Kept on the device, as :func:`subsets_whole_first`."""
    with torch.inference_mode(False):
        return torch.cat([torch.ones(1, count, dtype=torch.bool), torch.eye(count, dtype=torch.bool)]).to(device)
