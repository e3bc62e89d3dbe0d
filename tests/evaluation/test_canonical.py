from __future__ import annotations

import pytest
import torch

from mmvae import Batch
from mmvae.evaluation import evaluate

METRICS = ["canonical_correlation"]
IDENTITY = {"a": lambda z: z, "b": lambda z: z}


def views(rows: int, dim: int, correlation: float) -> Batch:
    """Two views whose dimensions correlate, one by one, before the second is turned and stretched."""
    generator = torch.Generator().manual_seed(0)
    a, noise = torch.randn(2, rows, dim, generator=generator)
    b = correlation * a + (1 - correlation**2) ** 0.5 * noise
    return Batch({"a": a, "b": b @ torch.randn(dim, dim, generator=generator) + 3})


@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
def test_linear_maps_do_not_hide_the_correlation(known, correlation: float) -> None:
    found = evaluate(known(IDENTITY, torch.eye(3)), views(20_000, 3, correlation), METRICS, max_data=20_000)
    assert found.value("canonical_correlation", "a", "b") == pytest.approx(correlation, abs=0.03)
    (one,), (other,) = (found.select(target=name) for name in "ab")
    assert (one["value"], one["n"]) == (other["value"], 20_000)
    assert "note" not in one


def test_neither_scale_nor_constant_dimensions_matter(known) -> None:
    data = views(500, 2, 0.7)
    model = known(IDENTITY, torch.eye(2))
    plain, tiny = (
        evaluate(model, {"a": data.data["a"], "b": scale * data.data["b"]}, METRICS).value(*METRICS, "a")
        for scale in (1, 1e-6)
    )
    assert tiny == pytest.approx(plain, rel=1e-3)
    assert 0.6 < plain < 0.8
    assert evaluate(model, {"a": data.data["a"], "b": torch.ones(500, 2)}, METRICS).value(*METRICS, "a") == 0


def test_few_data_points_are_noted(known) -> None:
    found = evaluate(known(IDENTITY, torch.eye(8)), views(24, 8, 0.0), METRICS, progress=False)
    assert found.value("canonical_correlation", "a", "b") > 0.4
    assert "fewer than 4 data points" in found.rows[0]["note"]


def test_rows_are_those_that_have_both(known) -> None:
    data = views(200, 2, 0.5)
    there = {"a": torch.arange(200) % 3 != 0, "b": torch.arange(200) % 5 != 0}
    both = there["a"] & there["b"]
    model = known(IDENTITY, torch.eye(2))
    holed = evaluate(model, Batch(data.data, there), METRICS, progress=False)
    dropped = evaluate(model, data[both], METRICS, progress=False)
    assert holed.rows == dropped.rows
    assert holed.rows[0]["n"] == int(both.sum())


def test_what_leaves_nothing_to_correlate_is_noted(known) -> None:
    model = known(IDENTITY, torch.eye(2))
    alone = evaluate(model, {"a": torch.randn(5, 2)}, METRICS, progress=False)
    assert "needs 2 single modalities" in alone.notes[0]
    apart = Batch(views(4, 2, 0.5).data, {"a": torch.arange(4) < 2, "b": torch.arange(4) >= 2})
    assert any("fewer than two data points" in note for note in evaluate(model, apart, METRICS, progress=False).notes)
    joint = evaluate(model, views(9, 2, 0.5), METRICS, subsets=[None], progress=False)
    assert "needs 2 single modalities among the subsets, and there are 0" in joint.notes[0]
