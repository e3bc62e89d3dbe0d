"""TOC: sorted scores, dead dimensions marked, accuracies as they were measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mmvae
from mmvae import plot

CODEBOOK = torch.tensor([[1.0, 3.0, 0.0, -1.0], [1.0, -2.0, 0.0, 1.5], [1.0, 0.5, 0.0, 0.5]])
ACCURACY = {"both": {1: 0.5, 4: 0.9, 2: 0.8}, "random": {2: [0.4, 0.6]}}


def test_scores_are_those_of_toc_and_dead_dimensions_are_known() -> None:
    arrays = plot.TOCCurve.of(CODEBOOK, ACCURACY)
    for criterion in ("both", "similarity", "variance"):
        scores = mmvae.toc(CODEBOOK, keep=1, criterion=criterion).scores
        np.testing.assert_allclose(arrays.scores[criterion], scores)
    assert arrays.dead.tolist() == [True, False, True, False]


def test_curves() -> None:
    left, right = plot.toc_curve(plot.TOCCurve.of(CODEBOOK, ACCURACY)).axes
    variance = next(line for line in left.get_lines() if line.get_label() == "variance")
    np.testing.assert_allclose(variance.get_ydata(), sorted(CODEBOOK.var(0).tolist(), reverse=True), atol=1e-6)
    assert "2 dead" in left.get_title(loc="left")
    both, random = right.get_lines()
    np.testing.assert_allclose(both.get_xydata(), [(1, 0.5), (2, 0.8), (4, 0.9)])
    assert (both.get_linestyle(), random.get_linestyle()) == ("-", "--")
    np.testing.assert_allclose(random.get_xydata(), [(2, 0.5)])
    band = right.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [0.5 - 0.02**0.5, 0.5 + 0.02**0.5])


def test_no_accuracy() -> None:
    with pytest.raises(ValueError, match="expected numbers by how the dimensions were chosen"):
        plot.TOCCurve.of(CODEBOOK, {"both": {}})
