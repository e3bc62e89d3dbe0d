"""Evaluations as plots: coherence as a table of colours, several models beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mmvae.evaluation.registry import metric_words
from mmvae.plotting.figures.heat_map import heat_map
from mmvae.plotting.figures.style import INK, MARKERS, PALETTE, axes_or_new, style, tidy

Row = Mapping[str, Any]


@runtime_checkable
class HasRows(Protocol):
    """An evaluation: dicts with ``metric``, ``given``, ``target`` and ``value``."""

    @property
    def rows(self) -> Sequence[Row]:
        """The rows."""


Scores = HasRows | Iterable[Row]
"""An :class:`mmvae.evaluation.Evaluation`, or its rows."""


def rows_of(scores: Scores) -> list[Row]:
    """The rows of an evaluation, or rows as they are."""
    return list(scores if isinstance(scores, Iterable) else scores.rows)


def score_matrix(scores: Scores, metric: str) -> tuple[list[str], list[str], Float[np.ndarray, "G T"]]:
    """A metric by subset and target: labels of the subsets, small ones first; targets; values, NaN where none is.

    Raises:
        ValueError: if there is no row of the metric.
    """
    rows = [row for row in rows_of(scores) if row["metric"] == metric]
    if not rows:
        known = ", ".join(dict.fromkeys(repr(row["metric"]) for row in rows_of(scores))) or "none"
        raise ValueError(f"evaluation: no rows of metric {metric!r}; metrics here: {known}.")
    given = sorted(dict.fromkeys(row["given"] for row in rows), key=lambda each: each.count("+"))
    targets = list(dict.fromkeys(row["target"] for row in rows))
    values = np.full((len(given), len(targets)), np.nan)
    for row in rows:
        values[given.index(row["given"]), targets.index(row["target"])] = row["value"]
    return given, targets, values


def coherence_heatmap(
    scores: Scores, metric: str = "coherence", ax: Axes | None = None, limits: tuple[float, float] = (0.0, 1.0)
) -> Axes:
    """A metric from each subset (rows) to each modality (columns), as colours and numbers.

    Numbers of modalities that were themselves given are in italics: reconstruction, not cross-generation.

    Args:
        scores: an evaluation or its rows.
        metric: with a subset and a target in each row.
        ax: to draw on; by default those of a new figure.
        limits: values of the two ends of the colour scale.

    Raises:
        ValueError: if there is no row of the metric.
    """
    given, targets, values = score_matrix(scores, metric)
    ax = axes_or_new(ax, 1.9 + 0.85 * len(targets), 0.9 + 0.36 * len(given))
    reconstructed = np.array([[target in one.split("+") for target in targets] for one in given])
    heat_map(ax, values, given, targets, limits, slanted=reconstructed)
    ax.set(xlabel="generated", ylabel="given")
    return ax


def per_subset(scores: Scores, metric: str, target: str | None = None) -> dict[str, tuple[float, float]]:
    """A metric by subset, with its standard error (0 where none is known).

    Where rows have targets and none is chosen, the value is the mean over the modalities that were not given, or over
    all if all were.

    Args:
        scores: an evaluation or its rows.
        metric: its name.
        target: a modality, for rows about this one only.
    """
    found: dict[str, list[Row]] = {}
    for row in rows_of(scores):
        if row["metric"] == metric and target in (None, row["target"]):
            found.setdefault(row["given"], []).append(row)
    result = {}
    for given, rows in found.items():
        kept = [row for row in rows if row["target"] not in given.split("+")] or rows
        errors = [float(row.get("stderr") or 0.0) for row in kept]
        mean = sum(float(row["value"]) for row in kept) / len(kept)
        result[given] = mean, math.sqrt(sum(error**2 for error in errors)) / len(kept)
    return result


def comparison(scores: Mapping[str, Scores], metric: str, target: str | None = None, ax: Axes | None = None) -> Axes:
    """Several models on one metric, a line of dots for each subset, with standard errors where there are any.

    Args:
        scores: evaluations by the name of the model.
        metric: its name. Where it has targets, the mean over those that were not given is shown.
        target: a modality, to show this one only.
        ax: to draw on; by default those of a new figure.

    Raises:
        ValueError: if no evaluation has the metric.
    """
    values = {name: per_subset(each, metric, target) for name, each in scores.items()}
    given = sorted(dict.fromkeys(one for each in values.values() for one in each), key=lambda one: one.count("+"))
    if not given:
        raise ValueError(f"comparison: none of {', '.join(map(repr, scores))} has the metric {metric!r}.")
    ax = axes_or_new(ax, 6.2, 1.1 + 0.3 * len(given))
    spread = 0.5 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5) if len(values) > 1 else [0.0]
    with style():
        for turn, (model, each) in enumerate(values.items()):
            places = [place for place, one in enumerate(given) if one in each]
            ax.errorbar(
                [each[given[place]][0] for place in places],
                [place + spread[turn] for place in places],
                xerr=[each[given[place]][1] for place in places],
                linestyle="",
                marker=MARKERS[turn % 10],
                markersize=5.5,
                markeredgecolor=INK,
                markeredgewidth=0.4,
                elinewidth=1.2,
                color=PALETTE[turn % 10],
                label=model,
            )
        ax.set_yticks(range(len(given)), [one or "(nothing)" for one in given], parse_math=False)
        ax.set(ylim=(len(given) - 0.5, -0.5), ylabel="given")
        name = metric_words(metric).title
        ax.set_xlabel(name if target is None else f"{name} of {target}")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(4, len(values)))
        tidy(ax, "both")
    return ax
