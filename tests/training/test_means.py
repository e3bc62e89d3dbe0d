from __future__ import annotations

import math

import pytest
import torch

from mmvae.training.means import Means, mean_of


def filled(values, rows):
    means = Means()
    for step, (value, count) in enumerate(zip(values, rows, strict=True)):
        means.add(step, count, torch.tensor(value), {"a": torch.tensor(2 * value), "elbo": torch.tensor(-value)})
    return means


def test_rows_weigh():
    assert filled([1.0, 4.0], [3, 1]).result() == {"loss": 1.75, "a": 3.5, "elbo": -1.75}


def test_a_term_that_a_step_lacks_is_zero_there():
    means = filled([1.0], [2])
    means.add(1, 2, torch.tensor(1.0), {"b": torch.tensor(6.0)})
    assert means.result() == {"loss": 1.0, "a": 1.0, "elbo": -0.5, "b": 3.0}


def test_many_small_steps_lose_nothing():
    values = torch.rand(2000).tolist()
    exact = math.fsum(torch.tensor(values).tolist()) / 2000
    assert filled(values, [1] * 2000).result()["loss"] == pytest.approx(exact, rel=1e-12)


def test_a_state_goes_on():
    half = filled([0.1, 0.2], [3, 4])
    half.fault()
    again = Means.restore(half.state(), torch.device("cpu"))
    for means in (half, again):
        means.add(2, 5, torch.tensor(0.7), {"a": torch.tensor(0.3), "elbo": torch.tensor(0.9)})
    assert half.result() == again.result()


def test_faults_are_named_once_and_sums_last():
    means = filled([1.0, math.nan, 1.0], [1, 1, 1])
    assert means.fault() == (1, ("a",))
    alone = Means()
    alone.add(0, 1, torch.tensor(math.inf), {"a": torch.tensor(1.0)})
    assert alone.fault() == (0, ("loss",))
    assert filled([1.0], [1]).fault() is None


def test_totals_of_processes():
    one, other = filled([1.0], [3]), filled([4.0], [1])
    assert mean_of([one.totals(), other.totals()]) == filled([1.0, 4.0], [3, 1]).result()
