"""Canonical correlations as bars of their means."""

from __future__ import annotations

import numpy as np
import pytest

from mmvae import plot


def test_bars_are_means_and_small_lines_the_correlations() -> None:
    ax = plot.canonical_bars(
        {"before": {"a, b": np.array([0.4, 0.2]), "a, c": 0.1}, "after": {"a, b": np.array([0.9, 0.5])}}
    )
    bars = {round(float(bar.get_x() + bar.get_width() / 2), 3): bar.get_height() for bar in ax.patches}
    assert list(bars.values()) == pytest.approx([0.3, 0.1, 0.7])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a, b", "a, c"]
    assert [round(place) for place in bars] == [0, 1, 0]
    lines = [segment[0, 1] for each in ax.collections for segment in each.get_segments()]
    assert lines == pytest.approx([0.4, 0.2, 0.9, 0.5])


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no correlations"):
        plot.canonical_bars({"before": {}})
