"""Confusion matrices: counts of predictions, by subset."""

from __future__ import annotations

import numpy as np
import pytest

import mmvae
from mmvae import Batch, models, plot
from mmvae.vaes.base import MultimodalVAE

COUNTS = np.array([[[3, 1, 0], [0, 2, 0], [0, 0, 0]]])


def test_counts_are_those_of_the_predictions(classifier: models.CMPT, pair: Batch) -> None:
    arrays = plot.ConfusionMatrix.of(classifier, pair)
    assert arrays.subsets == [("picture",), ("codes",), ("picture", "codes")]
    assert arrays.counts.sum((1, 2)).tolist() == [11, 12, 11]  # one datum has no picture
    expected = np.zeros((3, 3), int)
    predicted = classifier.predict(mmvae.infer(classifier, pair, "codes")).argmax(1)
    for true, each in zip(pair.labels.tolist(), predicted.tolist(), strict=True):
        expected[true, each] += 1
    np.testing.assert_array_equal(arrays.counts[1], expected)
    assert arrays.accuracy[1] == pytest.approx(float((predicted == pair.labels).float().mean()))


def test_cells_are_per_cent_of_the_row() -> None:
    figure = plot.confusion_matrix(plot.ConfusionMatrix([("a", "b")], COUNTS, ("x", "y", "z")))
    (ax,) = figure.axes
    shown = np.ma.filled(ax.images[0].get_array().astype(float), np.nan)
    np.testing.assert_allclose(shown, [[75, 25, 0], [0, 100, 0], [np.nan] * 3])
    assert sorted(text.get_text() for text in ax.texts) == ["100", "25", "75"]
    assert ax.get_title(loc="left") == "a+b: 83.3% right"


def test_many_classes_are_drawn_without_numbers() -> None:
    counts = np.eye(30, dtype=int)[None]
    (ax,) = plot.confusion_matrix(plot.ConfusionMatrix([("a",)], counts, tuple(map(str, range(30))))).axes
    assert not ax.texts
    assert len(ax.get_xticklabels()) == 10


def test_models_and_labels_that_have_none(model: MultimodalVAE, classifier: models.CMPT, pair: Batch) -> None:
    with pytest.raises(TypeError, match="MVAE does not classify"):
        plot.ConfusionMatrix.of(model, pair)
    with pytest.raises(ValueError, match="labels: the data has no class labels"):
        plot.ConfusionMatrix.of(classifier, pair.data)
    several = Batch(pair.data, pair.observed, pair.labels[:, None].expand(-1, 3))
    with pytest.raises(ValueError, match=r"needs one class for each data point, got shape \(11, 3\)"):
        plot.ConfusionMatrix.of(classifier, several)
