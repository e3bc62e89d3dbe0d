"""At least float32 where rounding to half precision would change what a density says."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Real numbers of half precision as float32; everything else as it is."""
    return x.float() if x.is_floating_point() and x.dtype.itemsize < 4 else x


def without_autocast(like: Tensor) -> AbstractContextManager[None]:
    """A context in which products of matrices on the device of ``like`` keep the precision of their factors."""
    kind = like.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def widest(x: Tensor) -> torch.dtype:
    """float64 where the device has it, for differences of large numbers; float32 on Apple's GPUs, which lack it."""
    return torch.float32 if x.device.type == "mps" else torch.float64
