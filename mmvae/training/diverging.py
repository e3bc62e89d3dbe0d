"""Looks out for a modality whose log-likelihood falls from epoch to epoch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

_FALL, _LEAST = 10.0, 100.0
"""A modality diverges that has lost so many times its best value, and at least so many nats a row."""


class Divergence:
    """Compares each modality's term of the loss with its best epoch, and warns once of one that has fallen far below.

    Args:
        names: Names of the modalities; terms of other names are passed over.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._best: dict[str, float] = {}
        self._said: set[str] = set()

    def look(self, row: Mapping[str, Any]) -> None:
        """Look at the metrics of an epoch of training."""
        for name in self._names:
            value = row.get(name)
            if not isinstance(value, float):
                continue
            best = self._best.get(name, value)
            self._best[name] = max(best, value)
            if value < best - max(_LEAST, _FALL * abs(best)) and name not in self._said:
                self._said.add(name)
                warnings.warn(
                    f"{name}: training diverges. Its log-likelihood has fallen from {best:.4g} to {value:.4g} nats per "
                    f"row in epoch {row['epoch']}. {advice((name,), self._names)}",
                    stacklevel=2,
                )


def advice(names: Sequence[str], modalities: Sequence[str]) -> str:
    """What to do when terms of the loss diverge.

    Args:
        names: Names of the terms.
        modalities: Names of the modalities of the model.
    """
    at_fault = [name for name in names if name in modalities]
    if not at_fault:
        return "Try a lower lr, max_grad_norm, or data of a smaller scale."
    return (
        f"Try a lower lr, max_grad_norm=1.0, or data of a smaller scale: Modality({at_fault[0]!r}, ..., "
        f"transform=transforms.Standardize()), or transforms.Log1p() for positive data with long tails."
    )
