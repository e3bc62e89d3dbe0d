from __future__ import annotations

import math

import pytest
import torch

from mmvae import Batch
from mmvae.training.means import Means, mean_of


def batch(rows, observed=None):
    return Batch({"m": torch.zeros(rows, 1), "n": torch.zeros(rows, 1)}, observed)


def filled(values, rows):
    means = Means()
    for step, (value, count) in enumerate(zip(values, rows, strict=True)):
        means.add(step, batch(count), torch.tensor(value), {"a": torch.tensor(2 * value), "elbo": torch.tensor(-value)})
    return means


def test_rows_weigh():
    assert filled([1.0, 4.0], [3, 1]).result() == {"loss": 1.75, "a": 3.5, "elbo": -1.75}


def test_a_term_is_averaged_over_the_steps_that_have_it():
    means = filled([1.0], [2])
    means.add(1, batch(3), torch.tensor(1.0), {"b": torch.tensor(6.0)})
    assert means.result() == {"loss": 1.0, "a": 2.0, "elbo": -1.0, "b": 6.0}


def test_a_modality_is_averaged_over_the_rows_that_have_it():
    """However the rows are cut into batches, and whatever share of them lacks the modality."""
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    there = torch.tensor([True, False, True, False, False, True])
    for cuts in ([6], [1, 5], [2, 2, 2], [3, 3], [4, 2]):
        means = Means()
        for step, (some, seen) in enumerate(zip(values.split(cuts), there.split(cuts), strict=True)):
            term = some[seen].mean() if seen.any() else torch.tensor(0.0)
            means.add(step, batch(len(some), {"m": seen}), some.mean(), {"m": term, "kl": some.mean()})
        assert means.result() == pytest.approx({"loss": 10.5, "m": 37 / 3, "kl": 10.5})


def test_a_modality_that_no_row_has_is_left_out():
    means = Means()
    for step in range(2):
        nothing = torch.zeros(3, dtype=torch.bool)
        means.add(step, batch(3, {"m": nothing}), torch.tensor(1.0), {"m": torch.tensor(0.0), "n": torch.tensor(2.0)})
    assert means.result() == {"loss": 1.0, "n": 2.0}


@pytest.mark.parametrize("name", ["loss", "epoch", "split", "seconds"])
def test_terms_with_the_name_of_a_column_are_refused(name):
    with pytest.raises(ValueError, match=f"terms: '{name}' is the name of another column"):
        Means().add(0, batch(1), torch.tensor(1.0), {name: torch.tensor(1.0)})


def test_many_small_steps_lose_nothing():
    values = torch.rand(2000).tolist()
    exact = math.fsum(torch.tensor(values).tolist()) / 2000
    assert filled(values, [1] * 2000).result()["loss"] == pytest.approx(exact, rel=1e-12)


def test_a_state_goes_on():
    half = filled([0.1, 0.2], [3, 4])
    half.fault()
    again = Means.restore(half.state(), torch.device("cpu"))
    for means in (half, again):
        means.add(2, batch(5), torch.tensor(0.7), {"a": torch.tensor(0.3), "elbo": torch.tensor(0.9)})
    assert half.result() == again.result()


def test_faults_are_named_once_and_sums_last():
    means = filled([1.0, math.nan, 1.0], [1, 1, 1])
    assert means.fault() == (1, ("a",))
    alone = Means()
    alone.add(0, batch(1), torch.tensor(math.inf), {"a": torch.tensor(1.0)})
    assert alone.fault() == (0, ("loss",))
    assert filled([1.0], [1]).fault() is None


def test_totals_of_processes():
    one, other = filled([1.0], [3]), filled([4.0], [1])
    assert mean_of([one.totals(), other.totals()]) == filled([1.0, 4.0], [3, 1]).result()
