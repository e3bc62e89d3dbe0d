from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from objectives.parts import make

from mmvae.objectives import (
    AlignedELBO,
    LinearWarmup,
    MixtureELBO,
    StratifiedDReG,
    StratifiedELBO,
    StratifiedIWAE,
    SubsetELBO,
    TotalCorrelation,
)
from mmvae.objectives.schedules import weight_at
from mmvae.refinement import RefinedELBO


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.5), (2.5, 1.0), (5, 1.5), (10, 2.5), (99, 2.5)])
def test_linear_warmup(epoch: float, weight: float) -> None:
    warmup = LinearWarmup(end=2.5, epochs=10, start=0.5)
    torch.testing.assert_close(weight_at(warmup, torch.tensor(float(epoch))), torch.tensor(weight))


def test_plain_weights_stay() -> None:
    assert weight_at(0.3, torch.tensor(7.0)) == 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be a finite number above 0, got 0"),
        ({"epochs": math.inf}, "epochs: expected a finite number, got inf"),
        ({"end": -1.0}, "end must be a finite number of at least 0, got -1"),
        ({"start": math.nan}, "start: expected a finite number, got nan"),
        ({"end": "2.5"}, "end: expected a number, got '2.5'"),
    ],
)
def test_schedules_that_cannot_be(arguments: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"LinearWarmup: {message}"):
        LinearWarmup(**arguments)


OBJECTIVES: list[tuple[Callable[..., Any], str]] = [
    (AlignedELBO, "alpha"),
    (AlignedELBO, "beta"),
    (MixtureELBO, "beta"),
    (RefinedELBO, "alpha"),
    (RefinedELBO, "beta"),
    (StratifiedDReG, "beta"),
    (StratifiedELBO, "beta"),
    (StratifiedIWAE, "beta"),
    (SubsetELBO, "beta"),
    (TotalCorrelation, "alpha"),
    (TotalCorrelation, "beta"),
]


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, "warm", None])
@pytest.mark.parametrize(("objective", "name"), OBJECTIVES)
def test_weights_that_cannot_be(objective: Callable[..., Any], name: str, weight: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=rf"^({objective.__name__}: )?{name}: expected a .*number.*, got {weight!r}\."
    ):
        objective(**{name: weight})


@pytest.mark.parametrize("weight", [0, 0.0, np.float64(0.5)])
@pytest.mark.parametrize(("objective", "name"), OBJECTIVES)
def test_weights_that_can_be(objective: Callable[..., Any], name: str, weight: Any) -> None:
    assert getattr(objective(**{name: weight}), name) is weight


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE"])
def test_models_read_their_epoch(kind: str) -> None:
    """The same draws, other weights: the loss changes with the epoch, its terms do not."""
    model, data = make(kind, beta=LinearWarmup(epochs=4))
    totals, elbos = [], []
    for epoch in (0.0, 1.0, 4.0, 9.0):
        model.epoch.fill_(epoch)
        torch.manual_seed(5)
        loss = model.loss(data)
        totals.append(loss.total.item())
        elbos.append(loss.terms["elbo"].item())
    assert len({round(total, 4) for total in totals[:3]}) == 3
    assert totals[2] == totals[3]
    assert elbos == pytest.approx([elbos[0]] * 4)


def test_by_default_weights_rise_from_nothing_to_one_in_ten_epochs() -> None:
    assert LinearWarmup() == LinearWarmup(end=1.0, epochs=10.0, start=0.0)
