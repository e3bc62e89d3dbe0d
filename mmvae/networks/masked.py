"""The mean of those vectors that are there."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def masked_mean(vectors: Float[Tensor, "N n d"], valid: Bool[Tensor, "N n"] | None) -> Float[Tensor, "N d"]:
    """The mean of the valid vectors of each row (all, without a mask); zeros where there is none."""
    if valid is None:
        return vectors.mean(1)
    weights = valid.to(vectors.dtype)[..., None]
    return (vectors * weights).sum(1) / weights.sum(1).clamp(min=1)


def in_turn(there: Bool[Tensor, "*N n"]) -> Int64[Tensor, "*N n"]:
    """The places along the last axis that are there, as they come, and behind them the others as they come."""
    return (~there).to(torch.int8).argsort(dim=-1, stable=True)


def in_random_order(there: Bool[Tensor, "*N n"]) -> Int64[Tensor, "*N n"]:
    """The places along the last axis that are there, in random order, and behind them the others as they come.

    All orders are as likely; drawn from torch's global generator of the device.
    """
    return torch.rand(there.shape, device=there.device).masked_fill(~there, 2.0).argsort(dim=-1, stable=True)
