"""Weights that change with the epochs of training."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

from torch import Tensor

from mmvae.arguments import Remembers


def is_amount(value: object) -> bool:
    """Whether a value is a finite number of at least 0."""
    return isinstance(value, numbers.Real) and 0 <= float(value) < math.inf


@dataclass(frozen=True)
class LinearWarmup(Remembers):
    """A weight that goes from ``start`` to ``end`` in a straight line, and stays there.

    Args:
        end: its value after ``epochs``.
        epochs: how long it takes; fractions count, as ``model.epoch`` advances with every step of ``fit``.
        start: its value before training.

    Raises:
        ValueError: unless ``end`` and ``start`` are finite numbers of at least 0, and ``epochs`` is one above 0.
    """

    end: float = 1.0
    epochs: float = 10.0
    start: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("end", self.end), ("start", self.start)):
            if not is_amount(value):
                raise ValueError(f"LinearWarmup: {name} must be a finite number of at least 0, got {value!r}.")
        if not is_amount(self.epochs) or self.epochs == 0:
            raise ValueError(f"LinearWarmup: epochs must be a finite number above 0, got {self.epochs!r}.")

    def at(self, epoch: Tensor) -> Tensor:
        """The weight after ``epoch`` epochs (a scalar tensor, so that nothing waits for a device)."""
        return self.start + (self.end - self.start) * (epoch / self.epochs).clamp(0, 1)


Weight = float | LinearWarmup
"""A weight of an objective: a finite number of at least 0, or one that changes. Others are a ``ValueError``."""


def checked(name: str, weight: Weight) -> Weight:
    """A weight as it was given, if an objective can use it.

    Args:
        name: of the argument, for the error.
        weight: to check.

    Raises:
        ValueError: unless it is a finite number of at least 0, or a schedule.
    """
    if isinstance(weight, LinearWarmup) or is_amount(weight):
        return weight
    raise ValueError(f"{name}: expected a finite number of at least 0, or LinearWarmup, got {weight!r}.")


def weight_at(weight: Weight, epoch: Tensor) -> float | Tensor:
    """The value of a weight after ``epoch`` epochs."""
    return weight.at(epoch) if isinstance(weight, LinearWarmup) else weight
