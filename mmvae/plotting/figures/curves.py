"""Training curves: the loss and its terms over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmvae.plotting.figures.style import INK, PALETTE, axes_or_new, new_figure, panels, style, tidy
from mmvae.training.journal import TEXTS, read_metrics
from mmvae.words import term_words

Metrics = Sequence[Mapping[str, Any]] | str | Path
"""Rows of a run's metrics, or the path of a ``metrics.csv``."""

_NOT_CURVES = ("epoch", *TEXTS, "seconds")
_DASHES = {"train": "-", "validation": "--"}


def metrics_rows(metrics: Metrics) -> list[Mapping[str, Any]]:
    """Rows of a run's metrics, as they are or read from the file.

    Raises:
        ValueError: for a damaged file, or metrics without a row.
    """
    rows = list(read_metrics(Path(metrics)) if isinstance(metrics, str | Path) else metrics)
    if not rows:
        raise ValueError("metrics: no rows; train for at least one epoch first.")
    return rows


def term_names(metrics: Metrics) -> list[str]:
    """What was recorded, the loss first, then the ELBO (of classifiers the accuracy), then the others as they come."""
    names = dict.fromkeys(name for row in metrics_rows(metrics) for name in row if name not in _NOT_CURVES)
    first = [name for name in ("loss", "elbo", "accuracy") if name in names]
    return first + [name for name in names if name not in first]


def elbo_curve(metrics: Metrics, term: str = "elbo", ax: Axes | None = None) -> Axes:
    """One recorded term over epochs: training solid, validation dashed.

    Args:
        metrics: rows as in a run's ``metrics``, or the path of its ``metrics.csv``.
        term: a column of the metrics: ``"loss"``, ``"elbo"``, ``"kl"``, a modality; ``"accuracy"`` of classifiers,
            ``"perplexity"`` of codebooks.
        ax: to draw on; by default those of a new figure.

    Raises:
        ValueError: for a term that was not recorded.
    """
    rows = metrics_rows(metrics)
    names = term_names(rows)
    if term not in names:
        raise ValueError(f"metrics: no column {term!r}; there are {', '.join(map(repr, names))}.")
    ax, heading = axes_or_new(ax), term_words(term, names)
    with style():
        for split, dash in _DASHES.items():
            points = [(row["epoch"], row[term]) for row in rows if row["split"] == split and term in row]
            if points:
                epochs, values = zip(*points, strict=True)
                colour = PALETTE[0] if split == "train" else INK
                marker = "o" if len(points) == 1 else None  # a line of one point would not show
                ax.plot(epochs, values, linestyle=dash, color=colour, marker=marker, markersize=4, label=split)
        ax.set_title(heading.heading, parse_math=False)
        ax.set(xlabel="epoch", ylabel=heading.unit)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        ax.margins(x=0.03)
        tidy(ax)
    return ax


def elbo_curves(metrics: Metrics, terms: Sequence[str] | None = None) -> Figure:
    """The loss and its terms over epochs, a panel each: training solid, validation dashed.

    Of variational models the terms are the ELBO and its parts; of others, what their ``loss`` names.

    Args:
        metrics: rows as in a run's ``metrics``, or the path of its ``metrics.csv``.
        terms: columns of the metrics; by default all.

    Raises:
        ValueError: for a term that was not recorded, or metrics without a row.

    Example:
        >>> rows = [{"epoch": epoch, "split": "train", "loss": 1 / epoch} for epoch in (1, 2, 3)]
        >>> len(elbo_curves(rows).axes)
        1
    """
    rows = metrics_rows(metrics)
    chosen = term_names(rows) if terms is None else list(terms)
    columns = min(3, len(chosen))
    lines = math.ceil(len(chosen) / columns)
    figure = new_figure(2.6 * columns if columns > 1 else 4.4, 2.1 * lines + 0.3 if columns > 1 else 3.2)
    units = [term_words(term, term_names(rows)).unit for term in chosen]
    with style():
        grid = panels(figure, len(chosen), columns)
        for place, (term, ax) in enumerate(zip(chosen, grid, strict=True)):
            elbo_curve(rows, term, ax)
            if place % columns and units[place] == units[place - 1]:
                ax.set_ylabel("")
            if place + columns < len(chosen):
                ax.set_xlabel("")
        figure.align_ylabels()
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure
