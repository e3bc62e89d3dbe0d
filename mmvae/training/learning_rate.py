"""Schedules of the learning rate: from the share of the training that is done to a factor."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

Schedule = Callable[[float], float]
"""From the share of the training that is done, in [0, 1), to a factor of the learning rate."""


def warmup_cosine(warmup: float = 0.1) -> Schedule:
    """Rises linearly over the first share ``warmup`` of the training, then falls to 0 along a cosine.

    Example:
        >>> schedule = warmup_cosine(0.1)
        >>> [round(schedule(done), 3) for done in (0.0, 0.05, 0.1, 0.55, 1.0)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    _check(warmup)
    return functools.partial(_cosine, warmup=warmup)


def warmup_polynomial(warmup: float = 0.1, power: float = 0.9) -> Schedule:
    """Rises linearly over the first share ``warmup`` of the training, then falls to 0 as (what is left) ** ``power``.

    Example:
        >>> schedule = warmup_polynomial(0.1, power=1.0)
        >>> [round(schedule(done), 3) for done in (0.05, 0.1, 0.55, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
    """
    _check(warmup)
    return functools.partial(_polynomial, warmup=warmup, power=power)


def _cosine(done: float, warmup: float) -> float:
    return done / warmup if done < warmup else 0.5 * (1 + math.cos(math.pi * _after(done, warmup)))


def _polynomial(done: float, warmup: float, power: float) -> float:
    return done / warmup if done < warmup else (1 - _after(done, warmup)) ** power


def _after(done: float, warmup: float) -> float:
    """The share of what comes after the warm-up that is done."""
    return min(1.0, (done - warmup) / (1 - warmup))


def _check(warmup: float) -> None:
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup: expected a share of the training in [0, 1), got {warmup}.")
