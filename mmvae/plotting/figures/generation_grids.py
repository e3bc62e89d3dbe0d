"""Grids of generated data: from every subset of given modalities, and from the prior."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmvae.abilities import Evaluated, Generates, Samples
from mmvae.inference import infer
from mmvae.plotting.figures.cells import Cells, Render, blank
from mmvae.plotting.figures.inputs import (
    chosen_subsets,
    distinct_rows,
    evaluating,
    inferable,
    require,
    shown_labels,
    spread,
)
from mmvae.plotting.figures.style import INK, MUTED, bare, new_figure, panels, style
from mmvae.sources import Data
from mmvae.subsets import Subset, label

_POOL = 500
_PAGE_CELLS = 16.0
"""How many cells fit the width of a page."""
_SPACE = 0.35
"""Between blocks, in cells."""


@dataclass(frozen=True, eq=False)
class CrossGeneration:
    """Data, and what a model generates from each subset of it.

    Attributes:
        names: M modalities.
        subsets: S of them.
        data: ``{name: [R, *shape]}``, R data points; modalities that the data holds.
        observed: ``{name: bool [R]}``.
        generated: by subset, ``{name: [R', *shape]}``, for the rows that have a member of the subset.
        inferred: by subset, which rows those are, ``[R]``.
    """

    names: tuple[str, ...]
    subsets: list[tuple[str, ...]]
    data: dict[str, Shaped[np.ndarray, "R ..."]]
    observed: dict[str, Bool[np.ndarray, "R"]]
    generated: dict[tuple[str, ...], dict[str, Shaped[np.ndarray, "_ ..."]]]
    inferred: dict[tuple[str, ...], Bool[np.ndarray, "R"]]

    @classmethod
    def of(
        cls, model: Evaluated, data: Data, subsets: Iterable[Subset] | None = None, *, rows: int = 6, seed: int = 0
    ) -> CrossGeneration:
        """One draw from q(z | x_S) for each datum and subset, decoded to the likelihood's mean or most probable code.

        A draw, not the posterior mean: the mean of a mixture may lie where none of its components does.

        Args:
            model: with a decoder for each modality.
            data: of which some points are shown, of different classes where it has labels.
            subsets: by default all, or beyond seven the single modalities and the whole.
            rows: R.
            seed: of the draws.

        Raises:
            TypeError: for a model that does not generate.
        """
        able = require(model, Generates, "does not generate; this plot needs a model with generate()")
        pool = spread(data, _POOL)
        batch = pool[distinct_rows(shown_labels(pool), pool.size, rows).tolist()]
        chosen = chosen_subsets(model, batch, subsets)
        generated, inferred = {}, {}
        for subset in chosen:
            kept = inferable(batch, subset)
            inferred[subset] = kept.cpu().numpy()
            if bool(kept.any()):
                with evaluating(model, seed):
                    latents = infer(model, batch[kept.nonzero().flatten()], subset, progress=False)
                    generated[subset] = _arrays(able.generate(latents, 1), first=True)
        return cls(
            tuple(model.names),
            [subset for subset in chosen if subset in generated],
            _arrays(batch.data),
            {name: mask.cpu().numpy() for name, mask in batch.observed.items()},
            generated,
            inferred,
        )


def cross_generation(arrays: CrossGeneration, render: Render | None = None) -> Figure:
    """Data and what is generated from each subset: a block for the data, then one for each subset; a row per datum.

    The heading of a modality is bold in the blocks that were given it: there it is reconstructed. Cells are empty where
    a datum lacks the modality, or all members of the subset. Pictures are drawn as such, integer codes as strings,
    vectors as bars or lines.

    Args:
        arrays: from :meth:`CrossGeneration.of`.
        render: by modality, a callable from one datum's codes to the string to show.
    """
    first = arrays.generated[arrays.subsets[0]]
    cells = {name: Cells.of(name, arrays.data.get(name, first[name]), render) for name in arrays.names}
    widths = [cells[name].aspect[0] for name in arrays.names]
    block, rows, count = sum(widths), len(next(iter(arrays.data.values()))), 1 + len(arrays.subsets)
    columns = _balanced(count, max(1, int(_PAGE_CELLS / (block + _SPACE))))
    lines = math.ceil(count / columns)
    cell = min(0.55, 7.1 / (columns * (block + _SPACE)))
    figure = new_figure(cell * columns * (block + _SPACE) + 0.1, lines * (cell * (rows + 0.35) + 0.36))
    with style():
        for place, ax in enumerate(panels(figure, count, columns)):
            subset = arrays.subsets[place - 1] if place else None
            _block(arrays, subset, cells, widths, ax)
    return figure


def _balanced(count: int, most: int) -> int:
    """How many columns, at most ``most``, give the fewest lines and the fewest gaps."""
    lines = math.ceil(count / most)
    return math.ceil(count / lines)


def _block(
    arrays: CrossGeneration, subset: tuple[str, ...] | None, cells: dict[str, Cells], widths: list[float], ax: Axes
) -> None:
    values = arrays.data if subset is None else arrays.generated[subset]
    left = 0.0
    for name, width in zip(arrays.names, widths, strict=True):
        rows = len(next(iter(arrays.data.values())))
        kept = arrays.observed.get(name, np.zeros(rows, bool)) if subset is None else arrays.inferred[subset]
        for row in range(rows):
            cell = (left, float(row), width, 1.0)
            if kept[row]:  # generated data has rows only where something could be inferred
                cells[name].draw(ax, values[name][row if subset is None else int(kept[:row].sum())], cell)
            else:
                blank(ax, cell)
        given = subset is not None and name in subset
        look: dict[str, Any] = {"color": INK, "weight": "bold"} if given else {"color": MUTED}
        ax.text(left + width / 2, -0.08, name, ha="center", va="bottom", fontsize=7, **look)
        left += width
    bare(ax)
    ax.set(xlim=(0, left), ylim=(rows, -0.35), aspect="equal")
    whole = subset is not None and len(subset) == len(arrays.names) > 1
    ax.set_title("data" if subset is None else "given all" if whole else f"given {label(subset)}", fontsize=8.5)


@dataclass(frozen=True, eq=False)
class PriorSamples:
    """Data generated from the prior.

    Attributes:
        data: ``{name: [R, *shape]}``; row r of every modality comes from the same latent.
    """

    data: dict[str, Shaped[np.ndarray, "R ..."]]

    @classmethod
    def of(
        cls, model: Samples, num_samples: int = 24, *, seed: int = 0, covariates: Mapping[str, Any] | None = None
    ) -> PriorSamples:
        """Draws from the prior, decoded to the likelihood's mean or most probable code.

        Args:
            model: Model with a prior and decoders.
            num_samples: R.
            seed: Seed of the draws.
            covariates: ``{name: value or values [R]}``, for a model that has some.

        Raises:
            TypeError: for a model without a prior.
        """
        able = require(model, Samples, "has no prior to draw from; this plot needs a model with sample()")
        with evaluating(model, seed):
            known = {"covariates": covariates} if covariates else {}
            return cls(_arrays(able.sample(num_samples, **known)))


def prior_samples(arrays: PriorSamples, render: Render | None = None, columns: int = 12) -> Figure:
    """Samples from the prior: each column one latent, its modalities below each other.

    Args:
        arrays: from :meth:`PriorSamples.of`.
        render: by modality, a callable from one datum's codes to the string to show.
        columns: samples side by side; more stand in further bands below.
    """
    cells = {name: Cells.of(name, values, render) for name, values in arrays.data.items()}
    count = len(next(iter(arrays.data.values())))
    heights = {name: each.aspect[1] for name, each in cells.items()}
    columns = min(columns, count)
    bands = math.ceil(count / columns)
    cell = min(0.58, 6.6 / columns)
    band_height = sum(heights.values()) + _SPACE
    height = bands * band_height - _SPACE
    figure = new_figure(cell * columns + 0.6, cell * height + 0.1)
    with style():
        ax = figure.subplots()
        for band in range(bands):
            top = band * band_height
            for name, values in arrays.data.items():
                ax.text(-0.12, top + heights[name] / 2, name, ha="right", va="center", fontsize=7.5, color=MUTED)
                for column, value in enumerate(values[band * columns : (band + 1) * columns]):
                    cells[name].draw(ax, value, (column, top, 1.0, heights[name]))
                top += heights[name]
        bare(ax)
        ax.set(xlim=(0, columns), ylim=(height, 0), aspect="equal")
    return figure


def _arrays(data: dict[str, Any], first: bool = False) -> dict[str, np.ndarray]:
    return {name: (value[0] if first else value).detach().cpu().numpy() for name, value in data.items()}
