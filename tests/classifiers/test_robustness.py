"""Robustness curves: means and spreads over seeds, in the right panel."""

from __future__ import annotations

import numpy as np
import pytest

from mmvae import plot

ROWS = [
    {"method": method, "missing": missing, "share": share, "value": base - share * slope + shift, "seed": seed}
    for method, base in (("one", 0.9), ("other", 0.8))
    for missing, slope in (("image", 0.2), ("text", 0.4))
    for share in (1.0, 0.0, 0.5)
    for seed, shift in enumerate((-0.1, 0.0, 0.1))
]


def test_a_panel_for_what_is_missing_and_a_line_of_means_for_each_method() -> None:
    figure = plot.robustness_curves(plot.RobustnessCurves.of(ROWS))
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in panels] == ["image missing", "text missing"]
    line = panels[1].get_lines()[1]
    assert line.get_label() == "other"
    np.testing.assert_allclose(line.get_xydata(), [(0, 0.8), (50, 0.6), (100, 0.4)])
    band = panels[1].collections[1].get_paths()[0].vertices
    at_half = band[np.isclose(band[:, 0], 50), 1]
    np.testing.assert_allclose([at_half.min(), at_half.max()], [0.5, 0.7])  # the standard deviation of -1, 0, 1 is 1
    assert panels[0].get_ylabel() == "Accuracy"


def test_one_seed_has_no_band_and_a_share_that_was_not_measured_no_point() -> None:
    rows = [row for row in ROWS if row["seed"] == 1 and not (row["method"] == "one" and row["share"] == 0.5)]
    (ax, _) = plot.robustness_curves(plot.RobustnessCurves.of(rows)).axes
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), [0, 100])
    band = ax.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(band[np.isclose(band[:, 0], 100), 1], 0.7)


def test_rows_of_one_metric_alone_and_shares_that_are_shares() -> None:
    rows = [{**ROWS[0], "metric": "f1_macro"}, {**ROWS[0], "metric": "accuracy"}]
    assert plot.RobustnessCurves.of(rows, "f1_macro").values.shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match="none of metric 'auroc'"):
        plot.RobustnessCurves.of(rows, "auroc")
    with pytest.raises(ValueError, match="expected 0 to 1, got 70; divide per cent by 100"):
        plot.RobustnessCurves.of([{**ROWS[0], "share": 70}])
