"""What the numbers of a run follow from besides its settings, in plain values: optimiser, schedule and data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmvae.batch import Batch
from mmvae.digest import digest
from mmvae.sources import InMemory, Source
from mmvae.training.configuration import Description, describe
from mmvae.training.feed import RowFeed
from mmvae.training.randomness import randomness_kept, seed_generators

_HOW = frozenset({"params", "param_names", "initial_lr", "fused", "foreach", "capturable", "differentiable"})
"""Entries of a group of an optimiser that do not change its steps, and follow the device."""

_POINTS = 16
"""Places at which a schedule is looked at, evenly over the training."""

_SMALL = 2**24
"""Bytes of a tensor that are looked at as a whole; of a larger one some rows."""

_ROWS_OF_TENSOR, _ROWS_OF_DATASET = 1024, 16
"""Rows that are looked at, evenly over the data. Those of a dataset may have to be read from files, and twice."""

_DIGITS = 16


def optimizer_in_words(optimizer: Optimizer) -> Description:
    """Describe an optimiser by its class and by the hyper-parameters and the number of tensors of each group."""
    groups = [
        {"tensors": len(group["params"]), **{key: describe(value) for key, value in group.items() if key not in _HOW}}
        for group in optimizer.param_groups
    ]
    return {"class": type(optimizer).__name__, "groups": groups}


def schedule_in_words(schedule: Callable[[float], float]) -> list[float]:
    """Describe a schedule of the learning rate by its factors."""
    return [float(schedule(point / _POINTS)) for point in range(_POINTS)]


def data_in_words(source: Source) -> dict[str, Any]:
    """Describe data by digests: ``"data"`` and ``"covariates"`` by name, and ``"labels"``, as far as there are any.

    Values that are masked count for nothing. Rows of a dataset are read twice; where they differ, they are drawn anew
    for each batch, and there is nothing to compare. The global generators, and a state that the dataset keeps, are
    left as they were.

    Args:
        source: N data points, in memory or read from a dataset.
    """
    if isinstance(source, InMemory):
        return _in_words(source.whole)
    rows = _evenly(len(source), _ROWS_OF_DATASET)
    feed = RowFeed(source, rows, len(rows))
    found = []
    for _ in range(2):
        with feed.undisturbed(), randomness_kept():
            seed_generators(0)
            found.append(_in_words(source.batch(rows)))
    return found[0] if found[0] == found[1] else {}


def _in_words(batch: Batch) -> dict[str, Any]:
    words: dict[str, Any] = {"data": {}}
    for name, value in batch.data.items():
        mask, rows = batch.masks[name], _some(value)
        some, there = (value, mask) if rows is None else (value[rows], mask[rows])
        there = there.reshape(*there.shape, *(1,) * (value.ndim - mask.ndim))
        zero = torch.zeros((), dtype=value.dtype, device=value.device)
        words["data"][name] = _digest(len(value), there, torch.where(there, some, zero))
    if batch.covariates:
        words["covariates"] = {name: _digest(len(value), value) for name, value in batch.covariates.items()}
    if batch.labels is not None:
        rows = _some(batch.labels)
        words["labels"] = _digest(len(batch.labels), batch.labels if rows is None else batch.labels[rows])
    return words


def _digest(size: int, *tensors: Tensor) -> str:
    return digest({str(number): tensor for number, tensor in enumerate(tensors)}, str(size))[:_DIGITS]


def _some(value: Tensor) -> Tensor | None:
    """The rows to look at, ``None`` for all."""
    if value.numel() * value.element_size() <= _SMALL:
        return None
    return _evenly(len(value), _ROWS_OF_TENSOR).to(value.device)


def _evenly(size: int, most: int) -> Tensor:
    return torch.linspace(0, size - 1, min(size, most), dtype=torch.float64).round().long()
