"""The sum of the ELBOs of several subsets (MVAE)."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.distributions import kl_divergence

from mmvae.batch import Batch
from mmvae.objectives.base import Loss, Trainable, elbo_terms, weighted_sum
from mmvae.objectives.chunks import ChunkedObjective, ChunkSize, Scores
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.objectives.traces import log_likelihoods


class SubsetELBO(ChunkedObjective):
    """ELBO(X) + Σ_m ELBO(x_m) + Σ_k ELBO(X_{S_k}), where the ELBO of a subset scores its members alone.

    Needs a joint posterior that fuses many subsets at once (:class:`~mmvae.posteriors.Product`).

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
        if num_random_subsets < 0:
            raise ValueError(f"num_random_subsets: expected at least 0, got {num_random_subsets}.")
        self.num_random_subsets = num_random_subsets

    def __call__(self, model: Trainable, batch: Batch) -> Loss:
        """The loss of a batch; rows that lack every member of a subset add nothing to that subset's ELBO."""
        members, rows_of = self._members(len(batch.names), batch.device)
        posterior = model.joint_posterior.fuse(model.experts(batch), members)
        z = posterior.rsample()  # [S, N, D]
        kl = kl_divergence(posterior, model.prior())  # [S, N]
        subsets_of = dict(zip(batch.names, rows_of, strict=True))

        def score(rows: slice) -> Scores:
            return log_likelihoods(model, batch[rows], z[:, rows], subsets_of)

        log_p = self._in_chunks(score, z, axis=1)  # across the rows, each of which has all subsets
        beta = weight_at(self.beta, model.epoch)
        reconstruction = weighted_sum({name: values.sum(0) for name, values in log_p.items()}, model.weights)
        total = (beta * kl.sum(0) - reconstruction).mean()
        return Loss(total, elbo_terms({name: values[0] for name, values in log_p.items()}, kl[0]))

    def capture_obstacle(self, batch: Batch) -> str | None:
        """Subsets that are drawn anew for each batch are drawn on the CPU; and that of chunks."""
        if self._draws(len(batch.names)):
            return "its objective draws subsets anew for each batch"
        return super().capture_obstacle(batch)

    def _draws(self, num_modalities: int) -> bool:
        """Whether there are subsets to draw beside the whole and the single ones."""
        return num_modalities > 2 and self.num_random_subsets > 0

    def _members(self, num_modalities: int, device: torch.device) -> tuple[Bool[Tensor, "S M"], tuple[Tensor, ...]]:
        """The subsets, of which the whole is the first, and for each modality the subsets that it is a member of."""
        if not self._draws(num_modalities):
            return _fixed_members(num_modalities, device)
        sizes = torch.randint(2, num_modalities, (self.num_random_subsets, 1))
        ranks = torch.rand(self.num_random_subsets, num_modalities).argsort(1)
        members = torch.cat([_whole_and_singles(num_modalities), ranks < sizes])
        return members.to(device), tuple(rows.to(device) for rows in _rows_of(members))


def _whole_and_singles(num_modalities: int) -> Bool[Tensor, "S M"]:
    whole = torch.ones(1, num_modalities, dtype=torch.bool)
    return whole if num_modalities == 1 else torch.cat([whole, torch.eye(num_modalities, dtype=torch.bool)])


def _rows_of(members: Bool[Tensor, "S M"]) -> list[Tensor]:
    return [member.nonzero().flatten() for member in members.unbind(1)]


@lru_cache
def _fixed_members(num_modalities: int, device: torch.device) -> tuple[Bool[Tensor, "S M"], tuple[Tensor, ...]]:
    """The same at each step, and so kept on the device: a step that took them there would wait."""
    with torch.inference_mode(False):  # they outlive the mode in which they are first asked for
        members = _whole_and_singles(num_modalities)
        return members.to(device), tuple(rows.to(device) for rows in _rows_of(members))
