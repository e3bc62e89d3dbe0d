"""What is left of a model's accuracy as more and more data goes missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmvae.evaluation.registry import metric_words
from mmvae.plotting.figures.style import MARKERS, PALETTE, new_figure, panels, style, tidy

_LETTER, _HANDLE = 0.06, 0.5
"""Inches of a legend that a letter takes, and what goes before a name."""


@dataclass(frozen=True, eq=False)
class RobustnessCurves:
    """A metric of several methods against the share of missing data, over several seeds.

    Attributes:
        metric: its name.
        methods: K of them.
        missing: what goes missing, P of them: modalities, or several at once in words of your own.
        shares: of the data that lack it, Q of them from 0 to 1, ascending.
        values: ``[K, P, Q, R]`` for R seeds, NaN where nothing was measured.
    """

    metric: str
    methods: list[str]
    missing: list[str]
    shares: Float[np.ndarray, "Q"]
    values: Float[np.ndarray, "K P Q R"]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], metric: str = "accuracy") -> RobustnessCurves:
        """The rows of one metric.

        Args:
            rows: dicts with ``method``, ``missing``, ``share`` (0 to 1) and ``value``, one for each seed; rows with
                a ``metric`` of another name are left out.
            metric: its name.

        Raises:
            ValueError: if there is no row of the metric, or a share is none.

        Example:
            >>> rows = [{"method": "MoLT", "missing": "text", "share": share, "value": 0.9} for share in (0.0, 1.0)]
            >>> RobustnessCurves.of(rows).values.shape
            (1, 1, 2, 1)
        """
        own = [row for row in rows if row.get("metric", metric) == metric]
        if not own:
            raise ValueError(f"rows: none of metric {metric!r}.")
        wrong = [row["share"] for row in own if not 0 <= row["share"] <= 1]
        if wrong:
            raise ValueError(f"share: expected 0 to 1, got {wrong[0]}; divide per cent by 100.")
        methods, missing = (list(dict.fromkeys(str(row[key]) for row in own)) for key in ("method", "missing"))
        shares = sorted({float(row["share"]) for row in own})
        cells: dict[tuple[int, int, int], list[float]] = {}
        for row in own:
            place = methods.index(str(row["method"])), missing.index(str(row["missing"]))
            cells.setdefault((*place, shares.index(float(row["share"]))), []).append(float(row["value"]))
        values = np.full((len(methods), len(missing), len(shares), max(map(len, cells.values()))), np.nan)
        for cell, found in cells.items():
            values[cell][: len(found)] = found
        return cls(metric, methods, missing, np.array(shares), values)


def robustness_curves(arrays: RobustnessCurves) -> Figure:
    """A panel for what goes missing, a line for each method: the mean over seeds, in a band of one standard deviation.

    Args:
        arrays: from :meth:`RobustnessCurves.of`.
    """
    count = len(arrays.missing)
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = new_figure(2.6 * columns if columns > 1 else 4.4, 2.5 * lines + 0.4)
    with style():
        grid = panels(figure, count, columns, sharey=True)
        for place, ax in enumerate(grid):
            _panel(arrays, place, ax)
            if place % columns == 0:
                ax.set_ylabel(metric_words(arrays.metric).title)
        handles, labels = grid[0].get_legend_handles_labels()
        beside = int(figure.get_figwidth() / (_HANDLE + _LETTER * max(map(len, labels))))
        figure.legend(handles, labels, loc="outside upper left", ncols=max(1, min(columns + 1, beside, len(labels))))
    return figure


def _panel(arrays: RobustnessCurves, place: int, ax: Axes) -> None:
    for turn, method in enumerate(arrays.methods):
        values = arrays.values[turn, place]  # [Q, R]
        known = ~np.isnan(values).all(1)
        percent, colour = 100 * arrays.shares[known], PALETTE[turn % 10]
        means = np.nanmean(values[known], axis=1)
        repeated = (~np.isnan(values[known])).sum(1) > 1
        spread = np.zeros(len(means))
        spread[repeated] = np.nanstd(values[known][repeated], axis=1, ddof=1)
        ax.fill_between(percent, means - spread, means + spread, color=colour, alpha=0.18, linewidth=0)
        ax.plot(percent, means, color=colour, marker=MARKERS[turn % 10], markersize=4, label=method)
    ax.set_title(f"{arrays.missing[place]} missing")
    ax.set(xlim=(-3, 103), xlabel="share of the data (%)", xticks=range(0, 101, 25))
    tidy(ax)
