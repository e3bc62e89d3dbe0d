"""A matrix as colours with its numbers in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from mmvae.plotting.figures.style import INK, PAPER, style


def heat_map(
    ax: Axes,
    values: Float[np.ndarray, "R C"],
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float] = (0.0, 1.0),
    *,
    written: Callable[[float], str] = "{:.2f}".format,
    slanted: Bool[np.ndarray, "R C"] | None = None,
    fontsize: float = 9,
) -> None:
    """Draws a matrix: the names of the columns above, those of the rows on the left, nothing where a value is NaN.

    Args:
        ax: to draw on.
        values: the matrix.
        rows: their names.
        columns: their names.
        limits: values of the two ends of the colour scale.
        written: a value as the text of its cell; may be empty.
        slanted: whether the text is in italics.
        fontsize: of the text.
    """
    with style():
        image = ax.imshow(values, cmap="Blues", vmin=limits[0], vmax=limits[1], aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = "" if math.isnan(value) else written(value)
            if not text:
                continue
            look: dict[str, Any] = {"color": _readable(image.to_rgba(value)), "fontsize": fontsize}
            slant = "italic" if slanted is not None and slanted[row, column] else "normal"
            ax.text(column, row, text, ha="center", va="center", style=slant, **look)
        ax.set_xticks(range(len(columns)), columns, parse_math=False)
        ax.set_yticks(range(len(rows)), rows, parse_math=False)
        ax.xaxis.tick_top()
        ax.xaxis.set_label_position("top")
        ax.spines[:].set_visible(False)
        ax.grid(False)
        ax.tick_params(length=0)
        ax.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
        ax.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
        ax.grid(True, which="minor", color=PAPER, linewidth=2 if fontsize > 7 else 0.8)
        ax.tick_params(which="minor", length=0)


def _readable(background: Any) -> str:
    red, green, blue, _ = background
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else PAPER
