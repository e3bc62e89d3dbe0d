"""Bars of the gaps: as long as the rows say, with their errors."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.container import BarContainer

from mmvae import plot
from mmvae.evaluation import Evaluation, make_row

ROWS = [
    make_row("amortization_gap", 2.0, ("a", "b"), stderr=0.25),
    make_row("amortization_gap", 31.25, ("a",), stderr=1.5),
    make_row("approximation_gap", -0.5, ("a",)),
    make_row("approximation_gap", 4.0, ("a", "b"), stderr=0.5),
    make_row("initial_gap", 9.0, ("a", "b"), stderr=0.5),
    make_row("elbo", -100.0, ("a",)),
]


def test_bars_are_the_rows_small_subsets_first() -> None:
    ax = plot.inference_gaps(Evaluation(ROWS, []))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "a+b"]
    bars = [each for each in ax.containers if isinstance(each, BarContainer)]
    np.testing.assert_allclose([[bar.get_width() for bar in each] for each in bars], [[31.25, 2.0], [-0.5, 4.0]])
    ends = [each.errorbar.lines[2][0].get_segments() for each in bars]
    np.testing.assert_allclose([[np.ptp(line[:, 0]) / 2 for line in each] for each in ends], [[1.5, 0.25], [0, 0.5]])
    assert [bar.get_label() for bar in bars] == ["amortisation gap", "approximation gap"]
    assert "nats" in ax.get_xlabel()


def test_a_mark_shows_the_gap_before_refinement() -> None:
    (mark,) = (line for line in plot.inference_gaps(ROWS).get_lines() if line.get_marker() == "D")
    assert list(mark.get_xdata()) == [9.0]
    without = [row for row in ROWS if row["metric"] != "initial_gap"]
    assert not [line for line in plot.inference_gaps(without).get_lines() if line.get_marker() == "D"]


def test_an_evaluation_without_gaps_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows of amortization_gap or approximation_gap"):
        plot.inference_gaps(ROWS[-2:])
