"""Batches of several processes made alike: the same modalities in all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mmvae.batch import Batch

Gather = Callable[[Any], list[Any]]
"""From a value to those of all processes, in the order of their ranks."""


def alike(batch: Batch, gather: Gather) -> Batch:
    """A batch with all modalities that some process has; those that this one lacks are there, and missing in every row.

    Terms of a loss that compare rows of several processes need the same modalities in all of them.

    Args:
        batch: N data points of this process.
        gather: called once, by all processes.
    """
    forms = {name: (list(value.shape[1:]), str(value.dtype)) for name, value in batch.data.items()}
    lacking: dict[str, tuple[list[int], str]] = {}
    for others in gather(forms):
        lacking |= {name: form for name, form in others.items() if name not in forms}
    if not lacking:
        return batch
    data, observed = dict(batch.data), dict(batch.masks)
    for name, (shape, dtype) in sorted(lacking.items()):
        kind = getattr(torch, dtype.removeprefix("torch."))
        data[name] = torch.zeros(batch.size, *shape, dtype=kind, device=batch.device)
        observed[name] = torch.zeros(batch.size, dtype=torch.bool, device=batch.device)
    return Batch(data, observed, batch.labels, batch.covariates)
