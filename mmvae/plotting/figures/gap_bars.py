"""Gaps of inference as bars: what the model's posterior loses, and what its family cannot reach."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mmvae.plotting.figures.scores import Row, Scores, rows_of
from mmvae.plotting.figures.style import INK, PALETTE, axes_or_new, style, tidy

GAPS = {"amortization_gap": "amortisation gap", "approximation_gap": "approximation gap"}
"""The metrics that are drawn, and what they are called."""

_BEFORE, _BEFORE_NAME = "initial_gap", "amortisation gap before refinement"


def inference_gaps(scores: Scores, ax: Axes | None = None) -> Axes:
    """Amortisation and approximation gap given each subset, in nats per datum, with standard errors.

    For a model that refines itself a mark shows where the amortisation gap stood before refinement.

    Args:
        scores: an evaluation or its rows.
        ax: to draw on; by default those of a new figure.

    Raises:
        ValueError: if there is no row of either gap.
    """
    found = {metric: _by_subset(scores, metric) for metric in (*GAPS, _BEFORE)}
    given = sorted(dict.fromkeys(one for metric in GAPS for one in found[metric]), key=lambda one: one.count("+"))
    if not given:
        raise ValueError("evaluation: no rows of amortization_gap or approximation_gap.")
    ax = axes_or_new(ax, 6.4, 1.1 + 0.5 * len(given))
    with style():
        for turn, (metric, name) in enumerate(GAPS.items()):
            places = [place for place, one in enumerate(given) if one in found[metric]]
            rows = [found[metric][given[place]] for place in places]
            values = [float(row["value"]) for row in rows]
            errors = [float(row.get("stderr") or 0.0) for row in rows]
            heights = np.array(places) + (turn - 0.5) * 0.38
            ax.barh(
                heights,
                values,
                height=0.36,
                xerr=errors,
                color=PALETTE[turn],
                ecolor=INK,
                error_kw={"elinewidth": 1.0},
                label=name,
            )
            for height, value, error in zip(heights, values, errors, strict=True):
                end = (max(value, 0.0) + error, height)
                text = f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
                ax.annotate(text, end, (4, 0), textcoords="offset points", va="center", fontsize=8)
        before = [place for place, one in enumerate(given) if one in found[_BEFORE]]
        if before:
            ax.plot(
                [float(found[_BEFORE][given[place]]["value"]) for place in before],
                np.array(before) - 0.19,
                linestyle="",
                marker="D",
                color=INK,
                markerfacecolor="none",
                label=_BEFORE_NAME,
            )
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_yticks(range(len(given)), given, parse_math=False)
        ax.set(ylim=(len(given) - 0.5, -0.5), xlabel="nats per datum", ylabel="given")
        ax.margins(x=0.1)
        handles, labels = ax.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda turn: labels[turn] == _BEFORE_NAME)  # the mark last
        ax.legend(
            [handles[turn] for turn in order],
            [labels[turn] for turn in order],
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=3,
        )
        tidy(ax, "x")
    return ax


def _by_subset(scores: Scores, metric: str) -> dict[str, Row]:
    return {row["given"]: row for row in rows_of(scores) if row["metric"] == metric}
