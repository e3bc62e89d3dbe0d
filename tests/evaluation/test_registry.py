"""Metrics carry their words: those of the library are all told, documented, and computed in a fixed order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import mmvae
from mmvae import evaluation
from mmvae.abilities import Generates, Predicts, lack
from mmvae.evaluation import METRICS, Context, Row, Words, evaluate, make_row, metric, metric_words
from mmvae.evaluation.registry import About, Metric, table_of_metrics

PAGE = Path(mmvae.__file__).parents[1] / "docs" / "evaluation.md"
SMALL: dict[str, Any] = {"num_samples": 20, "progress": False}


COSTLY = {"retrieval", "transfer", "students", "inference_gaps", "posterior_calibration", "latent_prior"}


@pytest.fixture
def registered() -> Iterator[None]:
    """The table of metrics as it was, afterwards."""
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


def test_the_table_of_the_documentation_is_that_of_the_library() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(r"<!-- table of metrics -->\n(.*?)\n<!-- end of the table -->", text, re.DOTALL)
    assert found is not None
    assert found.group(1) == table_of_metrics()  # print(table_of_metrics()) gives the new one


@pytest.mark.parametrize("name", METRICS)
def test_every_row_is_explained_in_the_documentation(name: str) -> None:
    """Below the table, in prose."""
    prose = PAGE.read_text(encoding="utf-8").partition("<!-- end of the table -->")[2]
    for words in METRICS[name].rows:
        assert f"`{words.name.replace('*', '1')}`" in prose


@pytest.mark.parametrize("name", METRICS)
def test_words_say_what_a_reader_needs(name: str) -> None:
    assert METRICS[name].rows
    for words in METRICS[name].rows:
        assert words.heading not in ("", words.name)
        assert words.meaning.endswith(".")
    assert set(METRICS[name].beside) <= set(METRICS)


def test_all_that_a_model_is_measured_by_has_words(exact_model, linear_data) -> None:
    train = linear_data(80, seed=1)
    found = evaluate(exact_model(), linear_data(), [*METRICS], train=train, **SMALL)
    told = {words.name for each in METRICS.values() for words in each.rows}
    assert {row["metric"] for row in found.rows} <= told
    assert len(found.rows) > 20


def test_metrics_are_in_the_order_of_their_subjects(registered: None) -> None:
    order = get_args(About)
    subjects = [order.index(each.about) for each in METRICS.values()]
    assert subjects == sorted(subjects)

    @metric(Words("first", "First", "Of all."), about="prediction")
    def first(context: Context) -> Iterator[Row]:
        yield make_row("first", 1.0)

    assert isinstance(first, Metric)
    assert list(METRICS).index("first") < list(METRICS).index("elbo")
    assert first.__doc__ == first.measure.__doc__


def test_a_metric_of_ones_own_has_words_and_is_computed(registered: None, exact_model, linear_data) -> None:
    @metric(Words("half_*", "Half of {}", "Always the same.", "parts", "lower"), about="latent")
    def halves(context: Context) -> Iterator[Row]:
        for name in context.names:
            yield make_row(f"half_{name}", 0.5)

    found = evaluate(exact_model(), linear_data(), **SMALL)
    assert found.value("half_a") == 0.5
    assert metric_words("half_a").title == "Half of a (parts)"
    assert evaluate(exact_model(), linear_data(), [halves], **SMALL).rows == found.select("half_a") + found.select(
        "half_b"
    )


def test_costly_metrics_wait_until_they_are_asked_for(registered: None, exact_model, linear_data) -> None:
    @metric(Words("dear", "Dear", "Costs."), about="latent", costly="costs")
    def dear(context: Context) -> Iterator[Row]:
        yield make_row("dear", 1.0)

    assert set(evaluation.costly_metrics()) == {*COSTLY, "dear"}
    assert not evaluate(exact_model(), linear_data(), **SMALL).select("dear")
    assert evaluate(exact_model(), linear_data(), ["dear"], **SMALL).value("dear") == 1
    assert "| no: costs |" in table_of_metrics()


def test_what_a_metric_needs_is_checked_before_it_runs(registered: None, exact_model, linear_data) -> None:
    @metric(Words("asked", "Asked", "Of classifiers that generate."), about="prediction", needs=(Generates, Predicts))
    def asked(context: Context) -> Iterator[Row]:
        raise AssertionError("ran")

    assert "asked" not in "".join(evaluate(exact_model(), linear_data(), **SMALL).notes)
    found = evaluate(exact_model(), linear_data(), ["asked"], **SMALL)
    assert found.notes == [f"asked: left out, since MVAE {lack(Predicts)}."]


def test_unknown_subjects_are_refused() -> None:
    with pytest.raises(ValueError, match=r"about: expected one of 'prediction', .* got 'weather'"):
        metric(Words("a", "A", "B."), about="weather")  # type: ignore[arg-type]


def test_unknown_rows_are_called_what_they_are() -> None:
    assert metric_words("my_own") == Words("my_own", "my_own")
