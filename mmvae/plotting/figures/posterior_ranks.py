"""Ranks of simulated latents among draws of their posteriors."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mmvae.evaluation import Ranks
from mmvae.plotting.figures.style import MUTED, PALETTE, axes_or_new, style, tidy
from mmvae.subsets import label


def posterior_ranks(ranks: Ranks, ax: Axes | None = None) -> Axes:
    """How far the distribution of the ranks is from the uniform one, a line for each latent dimension.

    An exact posterior stays within the band in all dimensions, with a probability of at least 0.95. A line that rises
    and then falls below zero shows a posterior that is too narrow, one that falls first a posterior that is too wide. A
    line on one side of zero shows a shift.

    Args:
        ranks: Ranks, from :func:`mmvae.evaluation.simulation_based_calibration`.
        ax: Axes to draw on; by default those of a new figure.
    """
    ax = axes_or_new(ax, 4.6, 3.2)
    places = ranks.num_draws + 1
    at = np.arange(places + 1) / places
    values = ranks.ranks.numpy()
    counts = np.stack([np.bincount(column, minlength=places) for column in values.T], 1)
    below = np.concatenate([np.zeros((1, counts.shape[1])), counts.cumsum(0)]) / len(values)
    distances = ranks.distances().numpy()
    worst, leaving, band = int(distances.argmax()), distances > ranks.band(), ranks.band()
    with style():
        ax.axhspan(-band, band, color="#d7e7fa", linewidth=0, label="95 % band of all dimensions")
        for dimension, line in enumerate(below.T):
            if dimension != worst:
                ax.plot(at, line - at, color=MUTED, linewidth=0.7, zorder=2)
        name = f"furthest: dimension {worst}"
        ax.plot(at, below[:, worst] - at, color=PALETTE[6], linewidth=1.8, zorder=3, label=name)
        ax.plot([], [], color=MUTED, linewidth=0.7, label=f"{int(leaving.sum())} of {len(leaving)} leave the band")
        limit = 1.15 * max(band, float(distances.max()))
        ax.set(xlim=(0, 1), ylim=(-limit, limit), xlabel="rank, as a share", ylabel="share below, minus uniform")
        ax.set_title(f"given {label(ranks.subset)}", parse_math=False)
        ax.legend(loc="upper center", bbox_to_anchor=(0.46, -0.2), ncols=2)
        tidy(ax, "y")
    return ax
