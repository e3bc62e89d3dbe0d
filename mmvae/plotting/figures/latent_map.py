"""The latents of all subsets in one picture: do those of different modalities lie with their class?"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmvae.plotting.figures.latent_means import LatentMeans, class_colours, class_name
from mmvae.plotting.figures.style import MARKERS, MUTED, PALETTE, bare, new_figure, style
from mmvae.subsets import label


def latent_map(arrays: LatentMeans) -> Figure:
    """Posterior means of all subsets in one panel: a marker for each subset, a colour for each class.

    Without classes (or with more than there are colours), colours are those of the subsets.

    Args:
        arrays: from :meth:`LatentMeans.of`, with the single modalities as ``subsets``, for one, and
            ``method="tsne"``.
    """
    figure = new_figure(6.0, 5.0)
    classes = None if arrays.labels is None else class_colours(arrays.labels)
    with style():
        ax = figure.subplots()
        order = np.random.default_rng(0).permutation(arrays.points.shape[1])  # so that no class lies on top of others
        handles = []
        for place, subset in enumerate(arrays.subsets):
            points = arrays.points[place][order]
            colours = np.full(len(points), PALETTE[place % 10])
            if classes is not None and arrays.labels is not None:
                colours = np.array([classes[value] for value in arrays.labels[order].tolist()])
            marker = MARKERS[place % 10]
            ax.scatter(points[:, 0], points[:, 1], s=14, c=colours, marker=marker, alpha=0.75, linewidths=0)
            colour = MUTED if classes else PALETTE[place % 10]
            handles.append(Line2D([], [], linestyle="", marker=marker, color=colour, label=label(subset)))
        figure.legend(handles=handles, loc="outside upper left", ncols=4, handletextpad=0.0, columnspacing=0.8)
        if classes:
            dots = [
                Line2D([], [], linestyle="", marker="o", color=colour, label=class_name(value))
                for value, colour in classes.items()
            ]
            figure.legend(handles=dots, loc="outside right upper", handletextpad=0.0)
        bare(ax)
        ax.spines[:].set_visible(True)
        ax.spines[:].set_color("#e3e6ea")
        ax.set(xlabel=arrays.axes_names[0], ylabel=arrays.axes_names[1])
    return figure
