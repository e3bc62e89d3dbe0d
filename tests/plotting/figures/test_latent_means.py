"""Posterior means in two dimensions: common axes, and ellipses of the known covariance."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from matplotlib.patches import Ellipse

from mmvae import Batch, Latents, models, plot
from mmvae.plotting.figures.inputs import moments
from mmvae.plotting.figures.latent_means import Method, principal_axes, projected_variance
from mmvae.vaes.base import MultimodalVAE


def test_ellipse_axes_are_those_of_the_covariance() -> None:
    turn = math.radians(30)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    covariance = rotation @ np.diag([4.0, 0.25]) @ rotation.T  # standard deviations 2 and 0.5
    arrays = plot.LatentMeans(
        [("a",)], np.array([[[1.0, 2.0], [3.0, 4.0]]]), None, np.array([0]), covariance[None, None], None, ("x", "y")
    )
    (ax,) = plot.latent_means(arrays).axes
    outline = next(patch for patch in ax.patches if isinstance(patch, Ellipse))
    assert outline.center == (1.0, 2.0)
    assert sorted([outline.width, outline.height]) == pytest.approx([1.0, 4.0])
    long_axis = outline.angle + (0 if outline.width > outline.height else 90)
    assert long_axis % 180 == pytest.approx(30)


def test_principal_axes_are_orthonormal_and_sorted() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3)) * [0.1, 3.0, 1.0]
    axes, shares = principal_axes(points)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(np.abs(axes[:, [1, 2]]), np.eye(2), atol=0.1)
    assert shares[0] == pytest.approx(0.9, abs=0.03)
    assert (axes.max(1) >= -axes.min(1)).all()


def test_one_latent_dimension_lies_on_a_line() -> None:
    axes, shares = principal_axes(np.array([[0.0], [1.0], [3.0]]))
    np.testing.assert_array_equal(axes, [[1.0], [0.0]])
    np.testing.assert_allclose(shares, [1.0, 0.0])


def test_projected_variance_is_that_of_draws() -> None:
    axes, variance = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]), np.array([1.0, 4.0, 0.25])
    draws = np.random.default_rng(0).normal(size=(200_000, 3)) * np.sqrt(variance) @ axes.T
    np.testing.assert_allclose(projected_variance(variance, axes), np.cov(draws.T), atol=0.05)


def test_panels_subsets_and_gaps(model: MultimodalVAE, batch: Batch) -> None:
    arrays = plot.LatentMeans.of(model, batch, marked=3)
    assert len(arrays.subsets) == 7
    assert np.isnan(arrays.points[arrays.subsets.index(("picture",))]).any(1).nonzero()[0].tolist() == [2]
    assert sorted(batch.labels[torch.as_tensor(arrays.marked)].tolist()) == [0, 1, 2]
    panels = [ax for ax in plot.latent_means(arrays).axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in panels] == ["+".join(subset) for subset in arrays.subsets]
    joint = model.eval().infer(batch).mean.detach().double().numpy()
    np.testing.assert_allclose(arrays.points[-1], joint @ principal_axes(joint)[0].T, atol=1e-5)
    offsets = np.asarray(panels[-1].collections[0].get_offsets())
    np.testing.assert_allclose(offsets, arrays.points[-1])


def test_tsne_keeps_gaps_and_draws_no_ellipses(model: MultimodalVAE, batch: Batch) -> None:
    arrays = plot.LatentMeans.of(model, batch, ["picture", None], method="tsne")
    assert np.isnan(arrays.points).any(2).sum() == 1
    assert len(arrays.marked) == 0
    assert not plot.latent_means(arrays).axes[0].patches


def test_a_latent_of_one_dimension_can_be_shown(model: MultimodalVAE, batch: Batch) -> None:
    narrow = models.MVAE(model.modalities, 1)
    mean = narrow.eval().infer(batch, "codes").mean.detach().numpy()[:, 0]
    line = plot.LatentMeans.of(narrow, batch, ["codes"])
    np.testing.assert_allclose(line.points[0], np.stack([mean, np.zeros(12)], 1), atol=1e-6)
    map_of_neighbours = plot.LatentMeans.of(narrow, batch, ["codes"], method="tsne")
    assert map_of_neighbours.points[0].std(0).min() > 0
    for arrays in (line, map_of_neighbours):
        plot.latent_means(arrays)


class FirstTwo:
    """In the place of UMAP: shows the first two dimensions around the centre of what it was fitted on."""

    def __init__(self, n_neighbors: int, random_state: int, n_jobs: int) -> None:
        self.n_neighbors, self.seed = n_neighbors, random_state

    def fit(self, means: np.ndarray) -> FirstTwo:
        assert self.n_neighbors < len(means)
        assert self.seed == 4
        self.centre = means[:, :2].mean(0)
        return self

    def transform(self, means: np.ndarray) -> np.ndarray:
        assert not np.isnan(means).any()
        return means[:, :2] - self.centre


def test_umap_is_fitted_on_the_means_given_everything_and_shows_every_subset(
    model: MultimodalVAE, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=FirstTwo))
    arrays = plot.LatentMeans.of(model, batch, ["picture", "codes", None], method="umap", seed=4)
    model.eval()
    centre = model.infer(batch).mean.detach().numpy()[:, :2].mean(0)
    for place, subset in ((1, "codes"), (2, None)):
        expected = model.infer(batch, subset).mean.detach().numpy()[:, :2] - centre
        np.testing.assert_allclose(arrays.points[place], expected, atol=1e-5)
    assert np.isnan(arrays.points[0]).any(1).nonzero()[0].tolist() == [2]
    assert arrays.axes_names[0].startswith("umap 1")
    assert not plot.latent_means(arrays).axes[0].patches


@pytest.mark.filterwarnings("ignore")  # of umap-learn and of what it stands on
def test_umap_itself(model: MultimodalVAE, batch: Batch) -> None:
    pytest.importorskip("umap")
    one, same = (plot.LatentMeans.of(model, batch, ["picture", None], method="umap").points for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert np.isnan(one).any(2).sum() == 1
    assert one[1].std(0).min() > 0


def test_methods_that_are_not_there(model: MultimodalVAE, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match='expected "pca", "tsne" or "umap", got \'mds\''):
        plot.LatentMeans.of(model, batch, method="mds")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "umap", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r'pip install "mmvae\[umap\]"'):
        plot.LatentMeans.of(model, batch, method="umap")


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_three_points_have_no_neighbourhoods(model: MultimodalVAE, batch: Batch, method: Method) -> None:
    with pytest.raises(ValueError, match=f'method="{method}" needs at least 4 data points, got 3; take "pca"'):
        plot.LatentMeans.of(model, batch[:3], ["codes"], method=method)
    assert plot.LatentMeans.of(model, batch[:3], ["codes"]).points.shape == (1, 3, 2)


def test_sequences_are_averaged_over_the_steps_that_are_there() -> None:
    torch.manual_seed(0)
    model = models.DCID({"sound": 3}, num_codes=5, code_dim=4, heads=2, club_hidden=4)
    there = torch.arange(6) < torch.tensor([6, 1, 3, 6, 2, 4])[:, None]
    data = Batch({"sound": torch.randn(6, 6, 3)}, {"sound": there})
    arrays = plot.LatentMeans.of(model, data, ["sound"])
    codes = model.eval().infer(data).codes
    means = np.array([model.codebook[row[row >= 0]].double().mean(0).numpy() for row in codes])
    np.testing.assert_allclose(arrays.points[0], means @ principal_axes(means)[0].T, atol=1e-6)


def test_point_masses_have_no_ellipses(classifier: models.CMPT, pair: Batch) -> None:
    arrays = plot.LatentMeans.of(classifier, pair)
    assert len(arrays.marked) == 0
    assert not plot.latent_means(arrays).axes[0].patches
    np.testing.assert_allclose(moments(classifier, pair, ("codes",)).scale, 0)


def test_the_spread_of_a_mean_over_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.DCID({"sound": 3}, num_codes=5, code_dim=4, heads=2, club_hidden=4)
    codes = torch.tensor([[0, 1], [2, -1]])
    scale = torch.tensor([3.0, 4.0])[:, None].expand(2, 2, 1)
    posterior = Latents(dist.Normal(torch.zeros(2, 2, 1), scale).to_event(2), ("sound",), codes=codes)
    monkeypatch.setattr(model, "infer", lambda batch, subset=None: posterior)
    found = moments(model, Batch({"sound": torch.randn(2, 2, 3)}), ("sound",))
    np.testing.assert_allclose(found.scale[:, 0], [2.5, 3.0], rtol=1e-6)  # of two steps, and of one


def test_the_model_stays_in_its_mode(model: MultimodalVAE, batch: Batch) -> None:
    model.train()
    plot.LatentMeans.of(model, batch)
    plot.CrossGeneration.of(model, batch, rows=2)
    assert model.training


class Known(torch.nn.Module):
    """A model whose latents are known: the row that the data names."""

    names = ("a",)

    def __init__(self, means: torch.Tensor) -> None:
        super().__init__()
        self.means = torch.nn.Parameter(means)

    def infer(self, batch, subset=None, observed=None):
        rows = batch.data["a"][:, 0].long()
        return Latents(dist.Delta(self.means[rows]).to_event(1), ("a",))


@pytest.mark.parametrize("distinct", [1, 2, 3, 5])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e6])
@pytest.mark.parametrize("dims", [1, 3])
def test_points_that_are_the_same_lie_on_each_other_in_a_map_of_neighbours(
    distinct: int, scale: float, dims: int
) -> None:
    places = torch.randn(distinct, dims, dtype=torch.float64) * scale
    which = torch.arange(30) % distinct
    model = Known(places[which])
    data = {"a": torch.arange(30.0)[:, None]}
    arrays = plot.LatentMeans.of(model, data, ["a"], method="tsne")
    assert np.isfinite(arrays.points).all()
    assert len(np.unique(arrays.points[0], axis=0)) == distinct
    for each in range(distinct):
        assert len(np.unique(arrays.points[0][which.numpy() == each], axis=0)) == 1
    plot.latent_map(arrays).savefig("/dev/null", format="png")


def test_latents_that_differ_by_rounding_alone_are_one_point() -> None:
    model = Known(1 + 1e-12 * torch.randn(30, 3, dtype=torch.float64))
    arrays = plot.LatentMeans.of(model, {"a": torch.arange(30.0)[:, None]}, ["a"], method="tsne")
    assert np.isfinite(arrays.points).all()


@pytest.mark.parametrize(("rows", "having"), [(3, 3), (12, 0), (12, 1), (12, 3)])
def test_maps_of_neighbours_of_few_points_are_refused(
    model: MultimodalVAE, batch: Batch, rows: int, having: int
) -> None:
    few = batch[:rows]
    seen = Batch(few.data, few.masks | {"picture": torch.arange(rows) < having})
    with pytest.raises(ValueError, match=r"needs at least 4|no row of the data has a member"):
        plot.LatentMeans.of(model, seen, ["picture"], method="tsne")


def test_unknown_classes_are_grey_and_named_classes_bear_their_names(model: MultimodalVAE, batch: Batch) -> None:
    known = ["dog", None, "cat"] * 4
    arrays = plot.LatentMeans.of(model, Batch(batch.data, batch.masks, known))
    figure = plot.latent_means(arrays)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog", "not known"]
    plot.latent_map(arrays).savefig("/dev/null", format="png")
    numbers = plot.LatentMeans.of(model, Batch(batch.data, batch.masks, torch.arange(12) % 3 - 1))
    legend = plot.latent_means(numbers).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "not known"]
