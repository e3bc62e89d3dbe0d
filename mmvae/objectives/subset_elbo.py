"""The sum of the ELBOs of several subsets (MVAE)."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.batch import Batch
from mmvae.distributions import divergence
from mmvae.objectives.base import Generative, Loss, make_loss, weighted_sum
from mmvae.objectives.chunks import ChunkedObjective, ChunkSize, Scores
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import JointPosterior


class SubsetELBO(ChunkedObjective):
    """ELBO(X) + Σ_m ELBO(x_m) + Σ_k ELBO(X_{S_k}), where the ELBO of a subset scores its members alone.

    Takes any joint posterior: one with networks of its own gives the ELBO of the whole, its experts the others. Where
    a KL has no closed form, it is estimated from the draw that is scored.

    Args:
        beta: KL weight.
        num_random_subsets: k, drawn anew for each batch among the subsets of two to M - 1 modalities.
        chunk_size: latents decoded at a time, see :class:`~mmvae.models.MVAE`.

    Raises:
        ValueError: for a weight or a number of subsets below zero, or a chunk below one.

    Source: Wu and Goodman 2018, the sub-sampled training objective.
    """

    def __init__(self, beta: Weight = 1.0, num_random_subsets: int = 0, chunk_size: ChunkSize = None) -> None:
        super().__init__(chunk_size)
        self.beta = checked("beta", beta)
        self.num_random_subsets = num_random_subsets

    def refusal(self, posterior: JointPosterior) -> str | None:
        """The posterior must give several subsets at once."""
        if posterior.gives_subsets:
            return super().refusal(posterior)
        return (
            "It needs several subsets at once, and this posterior gives one. Derive the posterior from Fusion, or pair "
            "it with ELBO."
        )

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch; rows that lack every member of a subset add nothing to that subset's ELBO."""
        members, rows_of = self._members(model.names, batch.names, batch.device)
        posterior = model.joint_posterior.of_subsets(batch, model.experts(batch), members)
        z = posterior.rsample()  # [S, N, D]
        kl = divergence(posterior, model.prior(batch.context), z)  # [S, N]
        if not batch.complete or len(batch.names) < len(model.names):  # of rows without a member nothing counts
            weights = torch.stack([batch.observed[name] for name in batch.names]).to(kl.dtype)  # [M, N]
            kl = kl * (members.to(kl.dtype) @ weights > 0)
        subsets_of = dict(zip(batch.names, rows_of, strict=True))

        def score(rows: slice) -> Scores:
            return model.score(batch[rows], z[:, rows], subsets_of)

        log_p = self._in_chunks(score, z, axis=1)  # across the rows, each of which has all subsets
        beta = weight_at(self.beta, model.epoch)
        reconstruction = weighted_sum({name: values.sum(0) for name, values in log_p.items()}, model.weights)
        total = (beta * kl.sum(0) - reconstruction).mean()
        return make_loss(total, batch, {name: values[0] for name, values in log_p.items()}, kl[0])

    def _members(
        self, everyone: tuple[str, ...], names: tuple[str, ...], device: torch.device
    ) -> tuple[Bool[Tensor, "S M"], tuple[Tensor, ...]]:
        """The subsets, of which the whole is the first, and for each modality the subsets that it is a member of.

        They are subsets of the model's modalities, restricted to those of the batch. So a modality that a batch does
        not hold counts like one that is masked.
        """
        count = len(everyone)
        places = tuple(everyone.index(name) for name in names)
        if count <= 2 or not self.num_random_subsets:
            return _fixed_members(count, places, device)
        sizes = torch.randint(2, count, (self.num_random_subsets, 1))
        ranks = torch.rand(self.num_random_subsets, count).argsort(1)
        members = torch.cat([_whole_and_singles(count), ranks < sizes])[:, list(places)]
        return members.to(device), tuple(rows.to(device) for rows in _rows_of(members))


def _whole_and_singles(num_modalities: int) -> Bool[Tensor, "S M"]:
    whole = torch.ones(1, num_modalities, dtype=torch.bool)
    return whole if num_modalities == 1 else torch.cat([whole, torch.eye(num_modalities, dtype=torch.bool)])


def _rows_of(members: Bool[Tensor, "S M"]) -> list[Tensor]:
    return [member.nonzero().flatten() for member in members.unbind(1)]


@lru_cache
def _fixed_members(
    num_modalities: int, places: tuple[int, ...], device: torch.device
) -> tuple[Bool[Tensor, "S M"], tuple[Tensor, ...]]:
    """The same at each step, and so kept on the device: a step that copied them there would wait."""
    with torch.inference_mode(False):  # they outlive the mode in which they are first asked for
        members = _whole_and_singles(num_modalities)[:, list(places)]
        members = members[members.any(1)]  # subsets that the batch holds nothing of add nothing
        return members.to(device), tuple(rows.to(device) for rows in _rows_of(members))
