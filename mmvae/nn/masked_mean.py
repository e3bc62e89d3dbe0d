"""The mean of those vectors that are there."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(vectors: Float[Tensor, "N n d"], valid: Bool[Tensor, "N n"] | None) -> Float[Tensor, "N d"]:
    """The mean of the valid vectors of each row (all, without a mask); zeros where there is none."""
    if valid is None:
        return vectors.mean(1)
    weights = valid.to(vectors.dtype)[..., None]
    return (vectors * weights).sum(1) / weights.sum(1).clamp(min=1)
