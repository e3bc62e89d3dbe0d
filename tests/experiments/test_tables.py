"""The experiment on tables hides what it says, scores by hand-made numbers, and runs end to end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import mmvae


@pytest.fixture(scope="module")
def experiment(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("tables")


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_smoke(experiment: ModuleType, tmp_path: Path) -> None:
    arguments = experiment.Arguments(preset="smoke", seeds=(0,), out=tmp_path / "runs", page=tmp_path / "page")
    path = experiment.main(arguments)
    text = path.read_text()
    title, verdict = text.split("\n\n")[:2]
    assert title == f"# {experiment.TITLE}"
    assert verdict.startswith("On these small tables ")
    assert "| wine, a group | " in text
    assert "| diabetes, progression | " in text
    found = pd.read_csv(path.with_name("tables.csv"))
    tools = {
        "nearest neighbours",
        "iterative imputation",
        "iterative imputation with a firm ridge",
        "gradient boosting",
    }
    assert set(found["method"]) == tools | {"MVTCAE", "MoPoE"}
    assert set(found["holes"][found["method"] == "gradient boosting"]) == {"without cultivar", "without progression"}
    assert np.isfinite(found[["relative", "seconds"]]).all(axis=None)
    assert path.with_name("tables.png").stat().st_size < 100_000
    kept = {each: each.stat().st_mtime_ns for each in (tmp_path / "runs").rglob("*.json")}
    assert experiment.main(arguments).read_text() == text
    assert kept == {each: each.stat().st_mtime_ns for each in (tmp_path / "runs").rglob("*.json")}


def test_groups_hold_every_column_once(experiment: ModuleType) -> None:
    for make in experiment.TABLES.values():
        table = make()
        assert sorted(itertools.chain(*table.groups.values())) == sorted(table.frame.columns)
        assert list(table.groups.values())[-1] == [table.asked]
        assert not table.frame.isna().any(axis=None)


def test_measures_are_real_numbers_even_if_training_rows_lack_every_fraction(experiment: ModuleType) -> None:
    """Of the measure s3 one row of 442 has a fraction."""
    table = experiment.diabetes()
    whole = table.frame[table.frame["s3"] % 1 == 0]
    likelihood = mmvae.data.from_frame(whole, table.groups).modalities[1].likelihood
    assert isinstance(likelihood, mmvae.likelihoods.Columns)
    assert likelihood.words() == "Normal for 's1', 's2', 's3', 's4', 's5', 1 more"


def test_holes_are_as_many_as_asked_and_no_row_is_bare(experiment: ModuleType, generator: np.random.Generator) -> None:
    table = experiment.diabetes()
    half = experiment.without_cells(table.frame, 0.5, generator)
    assert half.isna().mean(axis=None) == pytest.approx(0.5, abs=0.03)
    assert not experiment.without_cells(table.frame, 1.0, generator).isna().all(axis=1).any()
    train = experiment.for_training(table, table.frame, generator)
    assert not train.isna().all(axis=1).any()
    assert train[table.groups["serum"]].isna().all(axis=1).mean() == pytest.approx(1 / 9, abs=0.05)
    lacking = experiment.kinds_of_holes(table, table.frame, (), generator)["without person"]
    assert list(lacking.columns[lacking.isna().all()]) == table.groups["person"]
    assert lacking.drop(columns=table.groups["person"]).equals(table.frame.drop(columns=table.groups["person"]))


def test_coding_and_decoding_fill_the_holes_and_nothing_else(
    experiment: ModuleType, generator: np.random.Generator
) -> None:
    frame = experiment.wine().frame
    holes = experiment.without_cells(frame, 0.3, generator)
    coded = experiment.Coded(frame)
    pd.testing.assert_frame_equal(coded.decode(coded.encode(frame), holes), frame)
    assert np.isnan(coded.encode(holes)).sum() == holes.drop(columns="cultivar").isna().sum().sum() + 2 * int(
        holes["cultivar"].isna().sum()
    )


def test_scores_by_hand(experiment: ModuleType) -> None:
    kinds = pd.CategoricalDtype(["a", "b"])
    train = pd.DataFrame({"x": [0.0, 2.0, np.nan], "k": pd.Series(["a", "a", "b"], dtype=kinds)})  # mean 1, usual "a"
    true = pd.DataFrame({"x": [3.0, -1.0, 5.0], "k": pd.Series(["b", "b", "a"], dtype=kinds)})
    holes = true.mask(np.array([[True, True], [True, True], [False, False]]))
    made = true.assign(x=[2.0, 0.0, 5.0], k=pd.Series(["a", "b", "a"], dtype=kinds))
    lower, upper = true.assign(x=[2.5, 0.0, 5.0]), true.assign(x=[3.5, 1.0, 5.0])
    score = experiment.score(true, holes, (made, lower, upper), train)
    assert (score.numbers, score.categories, score.relative, score.coverage) == (0.5, 0.5, 0.5, 0.5)
    assert experiment.score(true, holes, (true, None, None), train).relative == 0.0


def test_the_verdict_counts_where_a_model_is_ahead(experiment: ModuleType) -> None:
    rows = pd.DataFrame(
        [
            {"table": "t", "holes": holes, "method": method, "seed": seed, "relative": value}
            for seed in (0, 1)
            for holes, errors in {
                "10% of cells": (0.5, 0.6, 0.7),
                "30% of cells": (0.5, 0.6, 0.7),
                "a group": (0.9, 0.8, 0.7),
            }.items()
            for method, value in zip(("nearest neighbours", "iterative imputation", "MoPoE"), errors, strict=True)
        ]
    )
    verdict = experiment.verdict(experiment.winners(rows))
    assert "nearest neighbours has the lowest error in 2 of 3 settings; models of the library have it in 1:" in verdict
    assert "on 1 of 1 tables" in verdict
    assert "in 0 of 2 settings" in verdict
