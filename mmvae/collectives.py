"""Several processes as one: what a term of a loss needs to know of the rows of the other processes.

In distributed training each process has some of the rows of a batch, and the gradients of the processes are averaged.
That gives the gradient of the whole batch where a loss is a mean over as many rows in each process. Terms that compare
rows, or are means over the rows that have something, need what is here. One rule holds for all of it: **the loss of the
batch is the mean of the losses of the processes**, and each process computes a term over all rows, or its own summands
times the number of processes.

All does nothing with one process, and outside of :func:`together`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed
from torch import Tensor

_together: ContextVar[bool] = ContextVar("together", default=False)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Lets the processes of ``torch.distributed`` count as one: the rows of all are one batch.

    All processes must enter it, and compute the same loss on batches that hold the same modalities.
    :func:`mmvae.fit` does so around each step; in a loop of your own, put the forward pass in it. A process that
    computes a loss alone, as in validation, stays outside.
    """
    token = _together.set(True)
    try:
        yield
    finally:
        _together.reset(token)


def number() -> int:
    """How many processes count as one; 1 outside of :func:`together`."""
    several = _together.get() and torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if several else 1


def summed(value: Tensor) -> Tensor:
    """The sum over all processes, without gradients."""
    if number() > 1:
        value = value.detach().contiguous().clone()
        torch.distributed.all_reduce(value)
    return value


def total(count: int, device: torch.device) -> int:
    """The sum of a count over all processes; with one, no device is waited for."""
    return count if number() == 1 else int(summed(torch.tensor(count, device=device)))


def is_spared(wanted: Tensor) -> bool:
    """Whether work can be left out since no entry of a mask, the same in all processes, wants it.

    With one process it never is: the device would be waited for, which costs more than the work.
    """
    return number() > 1 and not bool(wanted.any())


def of_first(value: Tensor) -> Tensor:
    """What the first process has, without gradients; of the same shape in all."""
    if number() > 1:
        value = value.detach().contiguous().clone()
        torch.distributed.broadcast(value, src=0)
    return value


def gathered(*values: Tensor) -> tuple[Tensor, ...]:
    """The rows of all processes, those of the first process first, for a term that every process computes in full.

    Gradients reach this process's own rows. As every process has the same term over the same rows, each knows the
    gradient of its own; it is multiplied by the number of processes, since the engine averages over them.

    Args:
        values: ``[N, ...]`` each, of one N, which may differ between processes.
    """
    if number() == 1:
        return values
    length = torch.tensor([len(values[0])], device=values[0].device)
    lengths = [torch.empty_like(length) for _ in range(number())]
    torch.distributed.all_gather(lengths, length)
    sizes = [int(each) for each in lengths]
    return tuple(_Gather.apply(value, sizes) for value in values)


def mean_over(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """The weighted mean over the rows of all processes; 0 where no row has a weight.

    A process gets its own summands alone, times the number of processes.

    Args:
        values: of any shape.
        weights: of the same shape, a mask for instance; by default all count.
    """
    if number() == 1:
        return values.mean() if weights is None else (values * weights).sum() / weights.sum().clamp_min(1)
    weights = torch.ones_like(values) if weights is None else weights
    count = summed(weights.sum().to(torch.float64)).clamp_min(1)
    return (values * weights).sum() * (number() / count).to(values.dtype)


class _Gather(torch.autograd.Function):
    """The rows of all processes; backwards, this process's own part of the gradient, times their number."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, sizes: list[int]) -> Tensor:
        rank = torch.distributed.get_rank()
        ctx.own, ctx.number = slice(sum(sizes[:rank]), sum(sizes[: rank + 1])), len(sizes)
        sent = value.to(torch.uint8) if value.dtype == torch.bool else value
        padded = sent.new_zeros(max(sizes), *value.shape[1:])
        padded[: len(value)] = sent
        parts = [torch.empty_like(padded) for _ in sizes]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return gradients[0][ctx.own] * ctx.number, None
