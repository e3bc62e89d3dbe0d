"""Canonical correlations of pairs of modalities or layers, at several stages of training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from mmvae.plotting.figures.style import INK, PALETTE, axes_or_new, style, tidy

Correlations = Mapping[str, Float[np.ndarray, "C"]]
"""By pair of modalities or layer, one correlation or several, between 0 and 1."""


def canonical_bars(correlations: Mapping[str, Correlations], ax: Axes | None = None) -> Axes:
    """The mean canonical correlation of each pair as bars side by side, the single ones as small lines on them.

    Args:
        correlations: by stage (``"before training"`` and ``"after training"``, for two), then by pair or layer, as
            :func:`mmvae.nn.canonical_correlations` gives them.
        ax: to draw on; by default those of a new figure.

    Raises:
        ValueError: if there is nothing to draw.
    """
    pairs = list(dict.fromkeys(pair for each in correlations.values() for pair in each))
    if not pairs:
        raise ValueError("canonical_bars: no correlations; pass a dict from stages to dicts from pairs to numbers.")
    ax = axes_or_new(ax, min(7.2, 1.6 + 0.45 * len(pairs) * (1 + len(correlations))), 3.2)
    width = 0.78 / len(correlations)
    with style():
        for turn, (stage, each) in enumerate(correlations.items()):
            places = np.array([place for place, pair in enumerate(pairs) if pair in each])
            found = [np.atleast_1d(np.asarray(each[pairs[place]], dtype=float)) for place in places]
            middles = places + (turn - (len(correlations) - 1) / 2) * width
            ax.bar(
                middles, [values.mean() for values in found], width=0.94 * width, color=PALETTE[turn % 10], label=stage
            )
            for middle, values in zip(middles, found, strict=True):
                if len(values) > 1:
                    half = 0.2 * width
                    ax.hlines(values, middle - half, middle + half, color=INK, linewidth=0.7, alpha=0.7)
        ax.set_xticks(range(len(pairs)), pairs, parse_math=False)
        ax.set(ylim=(0, 1.02), ylabel="canonical correlation")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
        tidy(ax)
        ax.tick_params(axis="x", length=0)
    return ax
