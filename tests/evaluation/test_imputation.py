"""Errors of hidden data are those of the closed form, beside the right floors, and intervals hold what they promise."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from vaes.test_cells import SIZES, exact, masks, with_holes
from vaes.test_tables import columns, tables

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.abilities import Imputes
from mmvae.evaluation import METRICS, evaluate
from mmvae.imputing import Errors, cells_to_hide, usual_values

only = functools.partial(evaluate, metrics=["imputation"], progress=False)


def test_a_modality_outside_of_the_subset_is_hidden_as_a_whole() -> None:
    """Root mean square errors are the predictive standard deviations, floors those of the columns."""
    yardstick, model = exact()
    data = yardstick.sample(4000)
    found = only(model, data, subsets=["a"], likelihood_rows=4000)
    nothing = {"a": torch.ones(1, 4, dtype=torch.bool), "b": torch.zeros(1, 3, dtype=torch.bool)}
    spread = yardstick.predictive_of_cells({name: each[:1] for name, each in data.items()}, nothing)["b"].stddev[0]
    rows = found.select("imputation_column", "a", "b")
    assert [row["column"] for row in rows] == ["0", "1", "2"]
    for place, row in enumerate(rows):
        assert row["value"] == pytest.approx(float(spread[place]), rel=0.05)
        assert row["floor"] == pytest.approx(float(data["b"][:, place].std()), rel=1e-3)
        assert row["coverage"] == pytest.approx(0.9, abs=0.02)
        assert row["n"] == 4000
    (whole,) = found.select("imputation", "a", "b")
    assert whole["value"] == pytest.approx(sum(row["value"] / row["floor"] for row in rows) / 3)
    assert (whole["floor"], whole["hidden"], whole["n"]) == (1.0, 12000, 4000)
    assert whole["coverage"] == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("with_train", [False, True])
def test_errors_are_of_all_rows_and_floors_of_the_training_data(with_train: bool) -> None:
    """Few rows have intervals, in whatever blocks rows are looked at."""
    yardstick, model = exact()
    data, train = yardstick.sample(1500), {name: each + 3.0 for name, each in yardstick.sample(1500).items()}
    options: Any = {"train": train} if with_train else {}
    found = only(model, data, subsets=["a"], likelihood_rows=10, **options)
    whole = only(model, data, subsets=["a"], likelihood_rows=1500, batch_size=7, **options)
    usual = (train if with_train else data)["b"].double().mean(0)
    floor = (data["b"].double() - usual).square().mean(0).sqrt()
    pairs = [each.select("imputation_column", "a", "b") for each in (found, whole)]
    for row, other in zip(*pairs, strict=True):
        assert row["n"] == 1500
        assert row["floor"] == pytest.approx(float(floor[int(row["column"])]), rel=1e-5)
        assert row["value"] == pytest.approx(other["value"], rel=1e-5)
        assert (row["coverage"] * 10) % 1 == pytest.approx(0, abs=1e-9)  # of ten rows


def test_of_members_with_cells_a_fifth_of_the_numbers_is_hidden() -> None:
    """Those that are missing anyway are not counted."""
    yardstick, model = exact()
    data, present = yardstick.sample(2000), masks(2000, SIZES, 0.7)
    found = only(model, with_holes(data, present), subsets=[("a", "b")], likelihood_rows=2000)
    for name in SIZES:
        (row,) = found.select("imputation", "a+b", name)
        both = present["a"].any(1) & present["b"].any(1)
        assert row["hidden"] == pytest.approx(0.2 * int(present[name][both].sum()), rel=0.1)
        assert row["value"] < 1
        assert row["coverage"] == pytest.approx(0.9, abs=0.03)


def test_columns_of_a_table_are_called_by_their_names_and_codes_have_a_share_of_errors() -> None:
    torch.manual_seed(0)
    modalities = [
        Modality("table", (4,), columns(), missing="cells"),
        Modality("other", (5,), likelihoods.Normal("learned")),
    ]
    model = models.MVTCAE(modalities, 2)
    data = tables(600)
    mmvae.fit(model, data, epochs=30, lr=3e-3, batch_size=50, progress=False, device="cpu")
    train = Batch(tables(600))
    found = only(model, data, train=train, likelihood_rows=600)
    rows = {row["column"]: row for row in found.select("imputation_column", "other", "table")}
    assert list(rows) == ["price", "kind", "visits", "is_new"]
    assert all(row["value"] < row["floor"] for row in rows.values())
    kind = train.data["table"][:, 1]
    assert "coverage" not in rows["kind"]
    assert all(row["coverage"] > 0.7 for row in rows.values() if row["column"] != "kind")
    assert rows["kind"]["floor"] == pytest.approx(1 - float((kind == kind.mode().values).float().mean()))
    assert rows["price"]["floor"] == pytest.approx(float(train.data["table"][:, 0].std(correction=0)), rel=1e-4)
    assert found.value("imputation", "other", "table") < 0.8
    assert found.select("imputation", "table+other", "other") == []  # given as a whole
    assert len(found.select("imputation", "table+other", "table")) == 1


@pytest.mark.parametrize("chosen", [["imputation"], None])
def test_it_is_computed_by_default_for_models_that_can(chosen: Any) -> None:
    model = models.MVAE([Modality(name, (3,), likelihoods.Normal()) for name in "ab"], 2)
    data = {name: torch.randn(30, 3) for name in "ab"}
    found = evaluate(model, data, chosen, num_samples=10, progress=False)
    assert {row["given"] for row in found.select("imputation")} == {"a", "b"}
    assert METRICS["imputation"].needs == (Imputes,)


def test_constant_columns_have_no_error_and_the_answer_is_the_same_again() -> None:
    torch.manual_seed(0)
    model = models.MVAE([Modality(name, (3,), likelihoods.Normal()) for name in "ab"], 2)
    data = {"a": torch.randn(30, 3), "b": torch.ones(30, 3)}
    found = only(model, data)
    assert found.select("imputation", "a", "b") == []
    assert any("whose columns do not vary" in note for note in found.notes)
    assert only(model, data, batch_size=7).rows == found.rows


def test_no_judge_is_trained_for_single_columns_and_tables() -> None:
    modalities = [
        Modality("table", (4,), columns()),
        Modality("price", (1,), likelihoods.Normal()),
        Modality("other", (5,), likelihoods.Normal()),
    ]
    model = models.MVAE(modalities, 2)
    data = {**tables(60), "price": torch.randn(60, 1)}
    labelled = Batch(data, labels=torch.arange(60) % 2)
    found = evaluate(model, labelled, ["coherence"], train=labelled, progress=False)
    assert {row["target"] for row in found.rows} == {"other"}
    assert any("no judge for table, price" in note for note in found.notes)


def test_rows_keep_a_number_whatever_is_hidden() -> None:
    data = torch.randn(500, 2)
    data[:, 1] = torch.nan
    batch = Batch({"a": data, "b": torch.randn(500, 1)})
    hidden = cells_to_hide(batch, ["a"], torch.Generator().manual_seed(0), share=0.9)
    assert not hidden["a"].any()
    beside = cells_to_hide(batch, ["a"], torch.Generator().manual_seed(0), share=0.9, among=("a", "b"))
    assert beside["a"][:, 0].float().mean() == pytest.approx(0.9, abs=0.05)
    assert not beside["a"][:, 1].any()


def test_usual_values_and_errors_of_a_slow_loop() -> None:
    torch.manual_seed(0)
    values = torch.randn(40, 3)
    values[:, 1] = torch.randint(3, (40,)).float()
    present, made = torch.rand(40, 3) < 0.7, values + torch.randn(40, 3).round()
    ordered = torch.tensor([True, False, True])
    usual = usual_values(values, present, ordered)
    errors = Errors((3,), ordered)
    for part in (slice(0, 15), slice(15, 40)):
        errors.add(values[part], made[part], present[part], usual)
    for place in range(3):
        known = [float(value) for value, is_there in zip(values[:, place], present[:, place], strict=True) if is_there]
        guess = max(set(known), key=known.count) if place == 1 else sum(known) / len(known)
        assert float(usual[place]) == pytest.approx(guess, abs=1e-5)
        pairs = [
            (float(x), float(y)) for x, y, w in zip(*(e[:, place] for e in (values, made, present)), strict=True) if w
        ]
        if place == 1:
            expected = sum(x != y for x, y in pairs) / len(pairs)
        else:
            expected = (sum((x - y) ** 2 for x, y in pairs) / len(pairs)) ** 0.5
        assert float(errors.values[place]) == pytest.approx(expected, abs=1e-6)
        assert float(errors.counts[place]) == len(known)
