"""A run may be judged by how well hidden validation data is filled in."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from vaes.test_cells import SIZES, exact, masks, with_holes
from vaes.test_tables import columns, tables

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.sources import as_source
from mmvae.training import Run
from mmvae.training.feed import RowFeed
from mmvae.training.hidden_data import HiddenData

quiet = functools.partial(mmvae.fit, progress=False, device="cpu", batch_size=30, validation=0.25)


def made(missing: Any = "rows", kind: str = "MVTCAE") -> Any:
    torch.manual_seed(0)
    modalities = [
        Modality("table", (4,), columns(), missing=missing),
        Modality("other", (5,), likelihoods.Normal("learned"), missing=missing),
    ]
    return getattr(models, kind)(modalities, 2)


def rows_of(run: Any) -> list[dict[str, Any]]:
    return [row for row in run.metrics if row["split"] == "validation"]


@pytest.mark.parametrize("missing", ["rows", "cells"])
def test_the_best_epoch_is_that_of_the_least_error(missing: Any, tmp_path: Path) -> None:
    run = quiet(made(missing), tables(200), epochs=5, lr=3e-3, select="imputation", out=tmp_path)
    rows = rows_of(run)
    assert run.best_epoch == min(rows, key=lambda row: row["imputation"])["epoch"]
    assert rows[-1]["imputation"] < rows[0]["imputation"]
    assert "imputation" not in run.metrics[0]
    assert Run.load(tmp_path).best_epoch == run.best_epoch
    assert json.loads((tmp_path / "config.json").read_text())["training"]["judge"] == {
        "term": "imputation",
        "better": "lower",
    }


def test_training_is_the_same_whoever_judges_and_resumes_exactly(tmp_path: Path) -> None:
    data, options = tables(120), {"restore_best": False}
    plain, judged, stopped = made("cells"), made("cells"), made("cells")
    quiet(plain, data, epochs=3, **options)
    whole = quiet(judged, data, epochs=3, select="imputation", **options)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, judged.state_dict()[name])
    quiet(stopped, data, epochs=1, select="imputation", out=tmp_path, **options)
    run = quiet(made("cells"), data, epochs=3, select="imputation", out=tmp_path, resume=True, **options)
    assert [row["imputation"] for row in rows_of(run)] == [row["imputation"] for row in rows_of(whole)]


def error_of(
    model: Any, data: dict[str, Tensor], batch_size: int = 4096, training: dict[str, Tensor] | None = None
) -> float:
    source = as_source(model.prepare(data))
    feed = RowFeed(source, torch.arange(len(source)), batch_size)
    reference = feed
    if training is not None:
        other = as_source(model.prepare(training))
        reference = RowFeed(other, torch.arange(len(other)), batch_size)
    with torch.no_grad():
        hidden = HiddenData(model.eval(), reference, feed, seed=0)
        found = [(hidden(step, batch), batch.size) for step, batch in enumerate(feed.in_order())]
    return sum(float(each) * size for each, size in found) / len(source)


def test_means_of_the_training_data_are_the_floor() -> None:
    """Against means that are far off, every error is small; validation data never tells its own means."""
    yardstick, model = exact()
    data = yardstick.sample(500)
    shifted = {name: each + 100.0 for name, each in data.items()}
    own, far = error_of(model, data), error_of(model, data, training=shifted)
    variances = torch.cat([each.double().var(0, correction=0) for each in data.values()])
    assert far == pytest.approx(own * float(variances.mean()) / 100.0**2, rel=0.2)


def test_the_error_is_that_of_all_validation_rows_and_not_a_mean_over_batches() -> None:
    """A batch of which one row can be hidden, far from all others, counts as one row."""
    yardstick, model = exact()
    data = yardstick.sample(200)
    data = {
        name: each.index_add(0, torch.tensor([0]), torch.full((1, each.shape[1]), 1e3)) for name, each in data.items()
    }
    data["b"][1:100] = torch.nan
    in_batches, at_once = error_of(model, data, 100), error_of(model, data)
    assert at_once / 2 < in_batches < 2 * at_once  # the mean over the batches is 2.8 times as large


def test_of_an_exact_model_the_error_is_the_share_of_variance_that_stays_unexplained() -> None:
    """One of two modalities is hidden in every row."""
    yardstick, model = exact()
    data = yardstick.sample(4000)
    expected = []
    for given, target in (("a", "b"), ("b", "a")):
        one = {name: torch.full((1, size), name == given) for name, size in SIZES.items()}
        spread = yardstick.predictive_of_cells({name: each[:1] for name, each in data.items()}, one)[target].variance[0]
        expected.append(float((spread / data[target].double().var(0)).mean()))
    found = error_of(model, data)
    assert found >= 0.95 * sum(expected) / 2  # a fifth of what is given is hidden too
    assert found < 1
    assert error_of(model, data, 500) == pytest.approx(found, rel=0.05)


def test_what_is_missing_anyway_is_neither_hidden_nor_counted() -> None:
    yardstick, model = exact()
    data, present = yardstick.sample(600), masks(600, SIZES, 0.7)
    given = with_holes(data, present)
    other = with_holes({name: each + 100 for name, each in data.items()}, present)
    filled = {name: torch.where(present[name], given[name], other[name]) for name in SIZES}
    assert error_of(model, given) == error_of(model, filled)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (
            lambda: models.MVAE([Modality("a", (3,), likelihoods.Normal())], 2),
            {"a": torch.randn(40, 3)},
            "no validation row has two",
        ),
        (
            lambda: models.LateFusion(
                {name: mmvae.nn.TextTransformer(5, 4, dim=8, depth=1, heads=2) for name in "ab"}, 3
            ),
            {name: torch.randint(1, 5, (40, 4)) for name in "ab"},
            "'imputation' needs a model that fills in data, and LateFusion",
        ),
    ],
)
def test_refuses_what_cannot_be_judged_by_it(model: Any, data: Any, message: str) -> None:
    labels = {"labels": torch.arange(40) % 3} if "LateFusion" in message else {}
    with pytest.raises(ValueError, match=message):
        quiet(model(), data, epochs=1, select="imputation", **labels)
