"""The mean of what passed by in training."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.collectives import summed

_SLOWEST = 0.01
"""The share that a batch has of the mean at least: in the long run the mean is over the last hundred batches or so."""


class RunningMean(nn.Module):
    """The mean of vectors, kept in a buffer: of all so far, and of the latest where there were many.

    In distributed training (within :func:`~mmvae.nn.together`, as in ``fit``), all processes count as one batch.

    Args:
        dim: d, of the vectors.

    Attributes:
        mean: ``[d]``, zeros before the first update.
        count: of the vectors so far.
    """

    mean: Tensor
    count: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def update(self, vectors: Float[Tensor, "N *T d"], valid: Bool[Tensor, "N *T"] | None = None) -> None:
        """Takes vectors in, those alone that are valid; nothing changes where there are none."""
        if valid is None:
            valid = torch.ones_like(vectors[..., 0], dtype=torch.bool)
        taken = torch.where(valid.unsqueeze(-1), vectors, 0).flatten(0, -2)
        total = summed(torch.cat([taken.sum(0, dtype=torch.float64), valid.sum(dtype=torch.float64)[None]]))
        count = total[-1].to(self.count.dtype)
        mean = (total[:-1] / total[-1].clamp_min(1)).to(self.mean.dtype)
        self.count += count
        share = (count / self.count.clamp_min(1)).clamp_min(_SLOWEST)
        self.mean.lerp_(mean, torch.where(count > 0, share, 0))
