"""The look of all figures: one style, one palette, and figures that pyplot knows nothing of."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
"""Ten colours that readers with colour-vision deficiencies can tell apart (Petroff 2021)."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
"""One per colour, so that a plot can be read without any."""

INK, MUTED, RULE, PAPER = "#22262e", "#666d79", "#d9dde3", "#ffffff"
"""Text; secondary text; grid lines; background."""

STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "savefig.facecolor": PAPER,
    "font.size": 9.0,
    "font.family": ["sans-serif"],
    "axes.facecolor": PAPER,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 7.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "text.color": INK,
    "text.parse_math": False,  # a name or a generated text may hold dollar signs, and no label of the library is TeX
    "text.usetex": False,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "image.interpolation": "nearest",
}
"""What is set, for the time of drawing only, through ``matplotlib.rc_context``."""


@contextmanager
def style() -> Iterator[None]:
    """Draw in the library's style; the settings of the caller come back afterwards."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


class StyledFigure(Figure):
    """A figure that keeps the library's style when it is rendered later, and shows itself in a notebook.

    Matplotlib reads part of the settings while it renders (ticks, for one), not while the figure is made.
    """

    def draw(self, renderer: Any) -> None:
        """Render in the library's style."""
        with style():
            super().draw(renderer)

    def savefig(self, fname: Any, *, transparent: bool | None = None, **kwargs: Any) -> None:
        """Save in the library's style."""
        with style():
            super().savefig(fname, transparent=transparent, **kwargs)

    def _repr_png_(self) -> bytes:
        return to_png(self)


def new_figure(width: float, height: float) -> StyledFigure:
    """An empty figure, sizes in inches; 7.2 is the width of a report."""
    with style():
        return StyledFigure(figsize=(width, height), layout="constrained")


def axes_or_new(ax: Axes | None, width: float = 5.6, height: float = 3.4) -> Axes:
    """The axes given, or those of a new figure of this size in inches.

    Titles and labels of ticks that hold names are set with ``parse_math=False``: axes that come from elsewhere have
    made their texts before the library's style was in force.
    """
    if ax is not None:
        return ax
    with style():
        return new_figure(width, height).subplots()


def panels(figure: Figure, count: int, columns: int, **shared: Any) -> np.ndarray:
    """The first ``count`` axes of a grid that is so wide, line by line; those left over in the last line are hidden.

    Args:
        figure: to fill.
        count: how many are needed.
        columns: of the grid.
        **shared: of ``figure.subplots``: ``sharex``, ``sharey``.
    """
    every = figure.subplots(-(-count // columns), columns, squeeze=False, **shared).flatten()
    for ax in every[count:]:
        ax.set_visible(False)
    return every[:count]


def tidy(ax: Axes, grid: Literal["x", "y", "both", "none"] = "y") -> None:
    """No box around the data, light grid lines behind it."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.set_axisbelow(True)
    ax.grid(False)
    if grid != "none":
        ax.grid(True, axis=grid, color=RULE, linewidth=0.7)
        ax.tick_params(axis=grid, length=0)


def bare(ax: Axes) -> None:
    """No spines, ticks or grid: for pictures."""
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.set(xticks=[], yticks=[])


def to_png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
