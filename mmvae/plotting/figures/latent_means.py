"""Posterior means by subset in two dimensions, with the posterior's own uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from mmvae.abilities import Evaluated, HasPrior
from mmvae.plotting.figures.inputs import (
    chosen_subsets,
    distinct_rows,
    known_classes,
    moments,
    prior_of,
    shown_labels,
    spread,
)
from mmvae.plotting.figures.style import INK, MUTED, PALETTE, RULE, bare, new_figure, panels, style
from mmvae.sources import Data
from mmvae.subsets import Subset, label

Method = Literal["pca", "tsne", "umap"]

_FEWEST = 4
"""Of data points in a map of neighbours."""

_DECIMALS = 6
"""Of points whose largest coordinate is one: those that differ by less lie on each other in a map of neighbours."""


@dataclass(frozen=True, eq=False)
class LatentMeans:
    """Posterior means in two dimensions that all subsets share.

    Attributes:
        subsets: S of them.
        points: ``[S, N, 2]``, NaN where a row has no member of the subset.
        labels: ``[N]``, classes (whole numbers, -1 where unknown, or names, empty where unknown) or real numbers; or
            ``None``.
        marked: rows whose posterior is drawn as an ellipse; none unless the map is linear and posteriors have a scale.
        covariances: of those rows' posteriors, ``[S, P, 2, 2]``, projected by the map.
        prior: the prior's covariance, ``[2, 2]``, projected likewise, or ``None``.
        axes_names: what the two dimensions are.
    """

    subsets: list[tuple[str, ...]]
    points: Float[np.ndarray, "S N 2"]
    labels: Shaped[np.ndarray, "N"] | None
    marked: Int[np.ndarray, "P"]
    covariances: Float[np.ndarray, "S P 2 2"]
    prior: Float[np.ndarray, "2 2"] | None
    axes_names: tuple[str, str]

    @classmethod
    def of(
        cls,
        model: Evaluated,
        data: Data,
        subsets: Iterable[Subset] | None = None,
        *,
        method: Method = "pca",
        size: int = 1000,
        marked: int = 5,
        seed: int = 0,
    ) -> LatentMeans:
        """The posterior means of a model; of latents that are sequences, the mean over the steps that are there.

        Args:
            model: any model that infers.
            data: with labels, if points are to be coloured.
            subsets: a panel each; by default all of them, or beyond seven the single modalities and the whole.
            method: ``"pca"``, fitted on the means given all modalities; ``"tsne"``, on the means of all subsets
                together; or ``"umap"``, fitted as ``"pca"`` is, which needs the package umap-learn.
            size: how many data points to show, evenly spread.
            marked: for how many of them to show the posterior's standard deviation (PCA only, and no point masses).
            seed: of t-SNE and UMAP.

        Raises:
            ValueError: for an unknown method, a subset that no row has a member of, or fewer than four data points
                for ``"tsne"`` or ``"umap"``.
            ImportError: for ``"umap"`` without umap-learn.
        """
        batch = spread(data, size)
        chosen = chosen_subsets(model, batch, subsets)
        inferred = [moments(model, batch, subset) for subset in chosen]
        means = np.stack([each.mean for each in inferred])  # [S, N, D]
        labels = shown_labels(batch)
        if method != "pca":
            points = _neighbour_map(method, means, moments(model, batch, batch.names).mean, seed)
            axes_names = (f"{method} 1 (no unit)", f"{method} 2 (no unit)")
            return cls(chosen, points, labels, np.empty(0, int), np.empty((len(chosen), 0, 2, 2)), None, axes_names)
        joint = moments(model, batch, batch.names).mean
        axes, shares = principal_axes(joint)
        has_scale = any((each.scale[each.rows] > 0).any() for each in inferred)
        rows = distinct_rows(labels, batch.size, marked) if has_scale else np.empty(0, int)
        variances = np.stack([each.scale[rows] for each in inferred]) ** 2  # [S, P, D]
        prior = None
        if isinstance(model, HasPrior):
            prior = projected_variance(prior_of(model).variance.double().cpu().numpy(), axes)
        first, second = (f"PC {place} ({share:.0%} of the variance)" for place, share in enumerate(shares, 1))
        return cls(chosen, means @ axes.T, labels, rows, projected_variance(variances, axes), prior, (first, second))


def latent_means(arrays: LatentMeans) -> Figure:
    """Posterior means by subset, a panel each on common axes, coloured by label.

    Ellipses show one standard deviation of the posterior of a few data points, the same in each panel; the dotted
    circle is one standard deviation of the prior.

    Args:
        arrays: from :meth:`LatentMeans.of`.
    """
    count = len(arrays.subsets)
    columns = min(count, 4 if count > 6 else 3)
    lines = math.ceil(count / columns)
    side = 7.2 / max(columns, 2)
    figure = new_figure(side * columns, (side + 0.2) * lines + 0.25)
    with style():
        grid = panels(figure, count, columns, sharex=True, sharey=True)
        for place, ax in enumerate(grid):
            _panel(arrays, place, ax)
        low = np.nanpercentile(arrays.points, 1, axis=1).min(0)
        high = np.nanpercentile(arrays.points, 99, axis=1).max(0)
        middle, half = (low + high) / 2, 0.55 * float((high - low).max()) + 1e-6  # square, so that circles are round
        grid[0].set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
        classes = None if arrays.labels is None else class_colours(arrays.labels)
        dots = [Line2D([], [], linestyle="", marker="o", color=each) for each in (classes or {}).values()]
        if classes:
            names = [class_name(each) for each in classes]
            figure.legend(dots, names, loc="outside upper right", ncols=len(dots), handletextpad=0.0, columnspacing=0.8)
        elif arrays.labels is not None:
            figure.colorbar(grid[0].collections[0], ax=figure.axes, label="label", shrink=0.6, aspect=30)
        figure.supxlabel(arrays.axes_names[0], fontsize=9)
        figure.supylabel(arrays.axes_names[1], fontsize=9)
    return figure


def class_colours(labels: np.ndarray) -> dict[Any, str] | None:
    """A colour per class, grey for what is not known; ``None`` for labels that are no classes, or too many."""
    classes = known_classes(labels)
    if not 0 < len(classes) <= len(PALETTE):
        return None
    unknown = [value for value in np.unique(labels).tolist() if value not in classes]
    return {value: PALETTE[place] for place, value in enumerate(classes)} | dict.fromkeys(unknown, RULE)


def class_name(value: Any) -> str:
    """A class in a legend."""
    return "not known" if value == "" or (not isinstance(value, str) and value < 0) else str(value)


def _panel(arrays: LatentMeans, place: int, ax: Axes) -> None:
    points, labels = arrays.points[place], arrays.labels
    classes = None if labels is None else class_colours(labels)
    if labels is None:
        colours = np.full(len(points), PALETTE[0])
    elif classes is None:
        colours = labels if labels.dtype.kind in "iubf" else np.unique(labels, return_inverse=True)[1]
    else:
        colours = np.array([classes[value] for value in labels.tolist()])
    by_number: dict[str, Any] = {"cmap": "viridis"} if classes is None and labels is not None else {}
    ax.scatter(points[:, 0], points[:, 1], c=colours, s=5, alpha=0.6, linewidths=0, rasterized=True, **by_number)
    if arrays.prior is not None and len(arrays.marked):
        _ellipse(ax, np.zeros(2), arrays.prior, fill=False, edgecolor=MUTED, linestyle=":", linewidth=0.9)
    for row, covariance in zip(arrays.marked, arrays.covariances[place], strict=True):
        if np.isnan(covariance).any():
            continue
        if classes is not None:
            _ellipse(ax, points[row], covariance, fill=True, facecolor=colours[row], linewidth=0, alpha=0.3)
        _ellipse(ax, points[row], covariance, fill=False, edgecolor=INK, linewidth=0.9)
        ax.plot(points[row, 0], points[row, 1], marker="+", color=INK, markersize=4, markeredgewidth=0.9)
    bare(ax)
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color("#e3e6ea")
    ax.set_title(label(arrays.subsets[place]))
    ax.set_aspect("equal")


def _ellipse(ax: Axes, centre: np.ndarray, covariance: np.ndarray, **look: Any) -> None:
    """The points one standard deviation away from ``centre``."""
    variances, directions = np.linalg.eigh(covariance)
    width, height = 2 * np.sqrt(variances.clip(0))
    angle = math.degrees(math.atan2(directions[1, 0], directions[0, 0]))
    ax.add_patch(Ellipse((float(centre[0]), float(centre[1])), width, height, angle=angle, **look))


def principal_axes(means: Float[np.ndarray, "N D"]) -> tuple[Float[np.ndarray, "2 D"], Float[np.ndarray, "2"]]:
    """The first two principal axes, orthonormal, and their shares of the variance; zeros where D is one.

    The sign of an axis is that its largest entry is positive, so that the same means give the same picture.
    """
    means = means[~np.isnan(means).any(1)]
    _, singular, directions = np.linalg.svd(means - means.mean(0), full_matrices=False)
    axes, shares = np.zeros((2, means.shape[1])), np.zeros(2)
    count = min(2, len(directions))
    axes[:count] = directions[:count]
    shares[:count] = singular[:count] ** 2 / max(float((singular**2).sum()), 1e-12)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return axes * np.where(largest < 0, -1.0, 1.0), shares


def projected_variance(
    variance: Float[np.ndarray, "*P D"], axes: Float[np.ndarray, "2 D"]
) -> Float[np.ndarray, "*P 2 2"]:
    """The covariance of A z, where z has these variances and no correlations."""
    return np.einsum("id,...d,jd->...ij", axes, variance, axes)


def _neighbour_map(method: str, means: np.ndarray, joint: np.ndarray, seed: int) -> np.ndarray:
    """A map of the points that differ; those that are the same lie on each other.

    Points that hardly differ are no matter for maps of neighbours, which divide by distances: scikit-learn's does not
    even end. Fewer than four different points lie where the principal axes put them.
    """
    if method not in ("tsne", "umap"):
        raise ValueError(f'method: expected "pca", "tsne" or "umap", got {method!r}.')
    shape = (*means.shape[:2], 2)
    means = means.reshape(-1, means.shape[-1])
    known = ~np.isnan(means).any(1)
    count = min(len(joint), int(known.sum()))
    if count < _FEWEST:
        raise ValueError(f'method="{method}" needs at least {_FEWEST} data points, got {count}; take "pca".')
    distinct, places = _distinct(means[known])
    learnt, _ = _distinct(joint[~np.isnan(joint).any(1)])
    if min(len(distinct), len(learnt)) < _FEWEST:
        found = (distinct - distinct.mean(0)) @ principal_axes(distinct)[0].T
    else:
        found = _tsne(distinct, seed) if method == "tsne" else _umap(learnt, distinct, seed)
    points = np.full((len(means), 2), np.nan)
    points[known] = found[places]
    return points.reshape(shape)


def _distinct(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points that differ, in their order, and the place of each point among them."""
    centred = points - points.mean(0)
    rounded = (centred / (float(np.abs(centred).max()) or 1.0)).round(_DECIMALS)
    _, first, places = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return points[first[order]], np.argsort(order)[places.reshape(-1)]


def _tsne(means: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    start = "pca" if means.shape[1] > 1 else "random"  # one latent dimension has no second principal axis
    means = means - means.mean(0)
    means = means / np.abs(means).max()  # neighbours stay the same, and no distance is lost in float32
    return TSNE(random_state=seed, perplexity=min(30.0, (len(means) - 1) / 3), init=start).fit_transform(means)


def _umap(learnt: np.ndarray, means: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError('method="umap" needs the package umap-learn: pip install "mmvae[umap]".') from error
    return UMAP(n_neighbors=min(15, len(learnt) - 1), random_state=seed, n_jobs=1).fit(learnt).transform(means)
