"""What the processes of a distributed run agree on; with one process, both functions give back what they get."""

from __future__ import annotations

import torch.distributed
from torch import Tensor


def summed(value: Tensor) -> Tensor:
    """The sum over all processes."""
    if _several():
        value = value.contiguous().clone()
        torch.distributed.all_reduce(value)
    return value


def of_first(value: Tensor) -> Tensor:
    """What the first process has."""
    if _several():
        value = value.contiguous().clone()
        torch.distributed.broadcast(value, src=0)
    return value


def _several() -> bool:
    available = torch.distributed.is_available() and torch.distributed.is_initialized()
    return available and torch.distributed.get_world_size() > 1
