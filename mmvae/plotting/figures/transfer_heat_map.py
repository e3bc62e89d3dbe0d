"""Transfer between modalities: heads that were trained on the latents of one, and tested on those of another."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mmvae.plotting.figures.heat_map import heat_map
from mmvae.plotting.figures.scores import Scores, rows_of, score_matrix
from mmvae.plotting.figures.style import new_figure, panels, style

_PAGE = 7.2


def transfer_matrix(
    scores: Mapping[str, Scores], metric: str = "transfer", limits: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """A metric from each source (rows) to each target (columns) as colours and numbers, a panel for each model.

    Numbers in italics are of heads that were tested on the modality which they were trained on: what transfer is
    measured against.

    Args:
        scores: evaluations, or rows such as :meth:`mmvae.evaluation.Transfer.rows` gives, by the name of the model;
            ``given`` is what a head was trained on, ``target`` what it was tested on.
        metric: its name in the rows.
        limits: values of the two ends of the colour scale, the same for all models.

    Raises:
        ValueError: if there is no model, or one has no row of the metric.
    """
    if not scores:
        raise ValueError("transfer_matrix: no evaluations; pass a dict from names to evaluations.")
    matrices = {name: score_matrix(rows_of(each), metric) for name, each in scores.items()}
    most_rows = max(len(sources) for sources, _, _ in matrices.values())
    most_columns = max(len(targets) for _, targets, _ in matrices.values())
    width = 1.1 + 0.72 * most_columns
    columns = min(len(matrices), max(1, int(_PAGE / width)))
    lines = math.ceil(len(matrices) / columns)
    figure = new_figure(width * columns, (1.05 + 0.42 * most_rows) * lines)
    with style():
        grid = panels(figure, len(matrices), columns)
        for ax, (name, (sources, targets, values)) in zip(grid, matrices.items(), strict=True):
            at_home = np.array([[source == target for target in targets] for source in sources])
            heat_map(ax, values, sources, targets, limits, slanted=at_home)
            ax.set(xlabel="tested on", ylabel="trained on")
            ax.set_title(name)
    return figure
