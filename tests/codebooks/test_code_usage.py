"""Who uses which codes: counts of the codes that inference gives, and owners."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mmvae
from mmvae import Batch, models, plot
from mmvae.vaes.base import MultimodalVAE

HISTOGRAMS = {
    "a": torch.tensor([8, 2, 0, 0, 0]),
    "b": torch.tensor([5, 0, 4, 0, 1]),
    "c": torch.tensor([1, 9, 0, 0, 0]),
}


def test_counts_are_those_of_the_codes(codebook: models.DCID, pair: Batch) -> None:
    arrays = plot.CodeUsage.of(codebook, pair)
    assert arrays.names == ("picture", "codes")
    rows = [row for row in range(12) if row != 2]  # that has no picture
    expected = mmvae.infer(codebook, pair[rows], "picture").codes.flatten()
    np.testing.assert_array_equal(arrays.counts[0], np.bincount(expected, minlength=6))
    assert arrays.counts[1].sum() == 12 * 4  # four steps of each
    assert arrays.owned.sum() == pytest.approx(1)


def test_owners() -> None:
    arrays = plot.CodeUsage.of_histograms(HISTOGRAMS)
    # shares 0.8 0.5 0.1 | 0.2 0 0.9 | 0 0.4 0 | 0 | 0 0.1 0: of the first, c has less than a tenth
    assert arrays.owners.tolist() == [2, 2, 1, 0, 1]
    np.testing.assert_allclose(arrays.owned, [0.5, 0.5, 0])
    np.testing.assert_allclose(arrays.perplexity[0], np.exp(-0.8 * np.log(0.8) - 0.2 * np.log(0.2)))


def test_bars_are_stacked_shares_in_the_order_of_owners_and_use() -> None:
    figure = plot.code_usage(plot.CodeUsage.of_histograms(HISTOGRAMS))
    left, right = figure.axes
    bars = np.array([bar.get_height() for bar in left.patches]).reshape(3, 4)  # one code is not used
    np.testing.assert_allclose(bars, 100 * np.array([[0.8, 0.2, 0, 0], [0.5, 0, 0.4, 0.1], [0.1, 0.9, 0, 0]]))
    starts = np.array([bar.get_y() for bar in left.patches]).reshape(3, 4)
    np.testing.assert_allclose(starts[1:], bars.cumsum(0)[:-1], atol=1e-12)
    assert "1 of 5 not used" in left.get_xlabel()
    assert [bar.get_height() for bar in right.patches] == pytest.approx([0, 50, 50])


def test_a_model_without_a_codebook(model: MultimodalVAE, batch: Batch) -> None:
    with pytest.raises(TypeError, match="MVAE has no codebook"):
        plot.CodeUsage.of(model, batch)
