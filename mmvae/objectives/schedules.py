"""Weights that change with the epochs of training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LinearWarmup:
    """A weight that goes from ``start`` to ``end`` in a straight line, and stays there.

    Args:
        end: its value after ``epochs``.
        epochs: how long it takes; fractions count, as ``model.epoch`` advances with every step of ``fit``.
        start: its value before training.
    """

    end: float = 1.0
    epochs: float = 10.0
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs <= 0:
            raise ValueError(f"LinearWarmup: epochs must be above 0, got {self.epochs}.")

    def at(self, epoch: Tensor) -> Tensor:
        """The weight after ``epoch`` epochs (a scalar tensor, so that nothing waits for a device)."""
        return self.start + (self.end - self.start) * (epoch / self.epochs).clamp(0, 1)


Weight = float | LinearWarmup
"""A weight of an objective: a number, or one that changes."""


def weight_at(weight: Weight, epoch: Tensor) -> float | Tensor:
    """The value of a weight after ``epoch`` epochs."""
    return weight.at(epoch) if isinstance(weight, LinearWarmup) else weight
