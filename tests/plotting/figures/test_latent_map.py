"""All subsets in one picture: positions of the arrays, a marker for each subset, a colour for each class."""

from __future__ import annotations

import numpy as np

from mmvae import Batch, models, plot
from mmvae.plotting.figures.style import PALETTE

POINTS = np.array([[[0.0, 1.0], [2.0, 3.0]], [[4.0, 5.0], [np.nan, np.nan]]])


def arrays(labels: np.ndarray | None) -> plot.LatentMeans:
    nothing = np.empty(0, int), np.empty((2, 0, 2, 2))
    return plot.LatentMeans([("a",), ("b",)], POINTS, labels, *nothing, None, ("x", "y"))


def test_markers_are_subsets_and_colours_classes() -> None:
    (ax,) = plot.latent_map(arrays(np.array([7, 9]))).axes
    first, second = ax.collections
    assert sorted(map(tuple, np.asarray(first.get_offsets()).tolist())) == [(0, 1), (2, 3)]
    assert first.get_paths()[0].vertices.shape != second.get_paths()[0].vertices.shape  # a circle and a square
    colours = {tuple(offset): tuple(colour) for offset, colour in zip(*parts(first), strict=True)}
    assert colours[0.0, 1.0][:3] != colours[2.0, 3.0][:3]
    seen = dict(zip(map(tuple, parts(second)[0]), map(tuple, parts(second)[1]), strict=True))
    assert seen[4.0, 5.0][:3] == colours[0.0, 1.0][:3]  # the same datum, the same class
    subsets, classes = ax.figure.legends
    assert [text.get_text() for text in subsets.get_texts()] == ["a", "b"]
    assert [text.get_text() for text in classes.get_texts()] == ["7", "9"]


def parts(collection: object) -> tuple[list[list[float]], list[list[float]]]:
    return np.asarray(collection.get_offsets()).tolist(), collection.get_facecolors().tolist()  # type: ignore[attr-defined]


def test_without_classes_colours_are_subsets() -> None:
    figure = plot.latent_map(arrays(None))
    colours = [tuple(np.round(np.array(each.get_facecolors()[0, :3]) * 255)) for each in figure.axes[0].collections]
    assert colours == [tuple(int(each[i : i + 2], 16) for i in (1, 3, 5)) for each in PALETTE[:2]]
    assert len(figure.legends) == 1


def test_a_map_of_a_codebook(codebook: models.DCID, pair: Batch) -> None:
    found = plot.LatentMeans.of(codebook, pair, ["picture", "codes"], method="tsne")
    assert np.isnan(found.points[0, 2]).all()
    assert len(plot.latent_map(found).axes[0].collections) == 2
