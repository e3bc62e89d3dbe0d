"""The mean of what passed by in training."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.nn.processes import number, summed

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
        taken = vectors.flatten(0, -2) if valid is None else vectors[valid]
        count = len(taken)
        if number() > 1:
            total = summed(torch.cat([taken.double().sum(0), taken.new_tensor([count], dtype=torch.float64)]))
            count = int(total[-1])
            taken = total[None, :-1] / max(1, count)
        if count:
            self.count += count
            self.mean.lerp_(taken.mean(0).to(self.mean.dtype), (count / self.count).clamp(min=_SLOWEST))
