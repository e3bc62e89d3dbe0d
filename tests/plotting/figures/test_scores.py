"""Evaluations as plots: the numbers of the rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmvae import plot
from mmvae.plotting.figures.scores import per_subset, score_matrix
from mmvae.plotting.reports.page import Page
from mmvae.plotting.reports.score_tables import best_of, mean_cross_coherence, write_scores


def row(metric: str, given: str, target: str, value: float, **extras: Any) -> dict[str, Any]:
    return {"metric": metric, "given": given, "target": target, "value": value, **extras}


ROWS = [
    row("coherence", "a+b", "a", 0.9),
    row("coherence", "a+b", "b", 0.8),
    row("coherence", "a", "a", 0.7, stderr=0.1),
    row("coherence", "a", "b", 0.5, stderr=0.02),
    row("coherence", "b", "a", 0.25),
    row("elbo", "a+b", "", -87.5, stderr=0.5),
]


def test_heat_map_values_and_numbers() -> None:
    ax = plot.coherence_heatmap(SimpleNamespace(rows=ROWS))
    (image,) = ax.images
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), [[0.7, 0.5], [0.25, np.nan], [0.9, 0.8]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "a+b"]
    styles = {text.get_text(): text.get_style() for text in ax.texts}
    assert styles == {"0.70": "italic", "0.50": "normal", "0.25": "normal", "0.90": "italic", "0.80": "italic"}


def test_rows_and_objects_with_rows_are_alike() -> None:
    assert score_matrix(ROWS, "coherence")[0] == score_matrix(SimpleNamespace(rows=ROWS), "coherence")[0]
    with pytest.raises(ValueError, match="no rows of metric 'fid'; metrics here: 'coherence', 'elbo'"):
        score_matrix(ROWS, "fid")


def test_means_leave_out_what_was_given() -> None:
    assert per_subset(ROWS, "coherence")["a"] == (0.5, 0.02)
    assert per_subset(ROWS, "coherence")["a+b"] == (pytest.approx(0.85), 0.0)
    assert per_subset(ROWS, "coherence", "a")["a"] == (0.7, 0.1)
    assert per_subset(ROWS, "elbo") == {"a+b": (-87.5, 0.5)}
    assert mean_cross_coherence(ROWS) == pytest.approx(0.375)
    assert mean_cross_coherence(ROWS[-1:]) is None


def test_comparison_has_a_series_per_model() -> None:
    ax = plot.comparison({"one": ROWS, "other": ROWS[:3]}, "coherence")
    handles, labels = ax.get_legend_handles_labels()
    assert labels == ["one", "other"]
    first, second = ([float(x) for x in handle.lines[0].get_xdata()] for handle in handles)
    assert first == pytest.approx([0.5, 0.25, 0.85])
    assert second == pytest.approx([0.7, 0.85])
    with pytest.raises(ValueError, match="has the metric 'fid'"):
        plot.comparison({"one": ROWS}, "fid")


def test_the_best_value() -> None:
    values = {"one": 0.91234, "two": 0.91233, "three": 0.5}
    assert best_of(values, "higher") == ["one", "two"]
    assert best_of(values, "lower") == ["three"]
    assert best_of(values, None) == []
    assert best_of({"one": 1.0, "two": float("nan")}, "higher") == []


def test_targets_stand_in_the_order_of_the_modalities() -> None:
    """Whatever the first row of a metric has for a target."""
    page = Page("title", "subtitle")
    page.section("Evaluation")
    pairs = [("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")]
    write_scores(page, [row("conditional_log_likelihood", given, target, -1.0) for given, target in pairs])
    places = [page.html().index(f"\N{RIGHTWARDS ARROW} {name}") for name in "abc"]
    assert places == sorted(places)
