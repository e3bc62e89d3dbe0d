"""Orders of entries of which some are not there; no value is looked at, so that no device is waited for."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def in_turn(there: Bool[Tensor, "*N n"]) -> Int64[Tensor, "*N n"]:
    """The places along the last axis that are there, as they come, and behind them the others as they come."""
    return (~there).to(torch.int8).argsort(dim=-1, stable=True)


def in_random_order(there: Bool[Tensor, "*N n"]) -> Int64[Tensor, "*N n"]:
    """The places along the last axis that are there, in random order, and behind them the others as they come.

    All orders are as likely; drawn from torch's global generator of the device.
    """
    return torch.rand(there.shape, device=there.device).masked_fill(~there, 2.0).argsort(dim=-1, stable=True)
