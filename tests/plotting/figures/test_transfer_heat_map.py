"""Transfer as heat maps: numbers in their places, a panel for each model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmvae import plot
from mmvae.evaluation import make_row, transfer_matrix
from mmvae.evaluation.transfer import Labelled

ROWS = [
    make_row("transfer", value, (source,), target)
    for source, target, value in (("a", "a", 0.9), ("a", "b", 0.5), ("b", "a", 0.25), ("b", "b", 1.0))
]


def test_sources_are_rows_and_targets_columns() -> None:
    figure = plot.transfer_matrix({"one": ROWS, "other": ROWS[:2]})
    first, second = figure.axes
    assert first.get_title(loc="left") == "one"
    np.testing.assert_array_equal(first.images[0].get_array(), [[0.9, 0.5], [0.25, 1.0]])
    np.testing.assert_array_equal(second.images[0].get_array(), [[0.9, 0.5]])
    styles = {text.get_text(): text.get_style() for text in first.texts}
    assert styles == {"0.90": "italic", "0.50": "normal", "0.25": "normal", "1.00": "italic"}
    assert (first.get_ylabel(), first.get_xlabel()) == ("trained on", "tested on")


def test_what_evaluation_measures_can_be_drawn() -> None:
    z = torch.eye(2).repeat(10, 1)
    same = {name: Labelled(z, torch.arange(20) % 2) for name in ("image", "text")}
    (ax,) = plot.transfer_matrix({"model": transfer_matrix(same, same, same).rows()}).axes
    np.testing.assert_array_equal(ax.images[0].get_array(), np.ones((2, 2)))


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no evaluations"):
        plot.transfer_matrix({})
    with pytest.raises(ValueError, match="no rows of metric 'f1'; metrics here: 'transfer'"):
        plot.transfer_matrix({"one": ROWS}, "f1")
