"""One datum of any modality in one cell of a grid: pictures, strings, small line or bar plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Shaped
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mmvae.plotting.figures.style import INK, MUTED, PALETTE

Render = Mapping[str, Callable[[torch.Tensor], str]]
"""By modality, the string of one datum's codes, ``[*shape] -> str``."""

Kind = Literal["image", "text", "vector"]

Cell = tuple[float, float, float, float]
"""Left, top, width, height."""

_EMPTY = "#eef0f3"
_MOST_BARS = 16
_GAP = 0.04


@dataclass(frozen=True, eq=False)
class Cells:
    """How the data of one modality is drawn.

    Attributes:
        kind: a picture, a string, or a plot of numbers.
        low: the value that is drawn black, or at the bottom.
        high: the value that is drawn white, or at the top.
        string: of one datum's codes.
    """

    kind: Kind
    low: float
    high: float
    string: Callable[[torch.Tensor], str]

    @classmethod
    def of(cls, name: str, values: Shaped[np.ndarray, "N ..."], render: Render | None = None) -> Cells:
        """How to draw data like ``values``: by its shape and type, and by ``render`` where it names the modality.

        Pictures keep the range 0 to 1 where their values lie there; other values are drawn over their own range.
        """
        string = (render or {}).get(name, _codes)
        if name in (render or {}) or values.dtype.kind in "iub":
            return cls("text", 0.0, 1.0, string)
        image = values.ndim == 4 and values.shape[1] in (1, 3) and min(values.shape[2:]) > 1
        low, high = (float(each) for each in np.percentile(values, (1, 99) if image else (0, 100)))
        if image and low > -0.5 and high < 1.5:
            low, high = 0.0, 1.0
        elif not image:
            low, high = min(low, 0.0), max(high, 0.0)
        return cls("image" if image else "vector", low, high if high > low else low + 1.0, string)

    def draw(self, ax: Axes, value: Shaped[np.ndarray, "..."] | np.generic, cell: Cell) -> None:
        """Draws a datum in a cell of axes whose vertical coordinate grows downwards."""
        value = np.asarray(value)
        left, top, width, height = cell
        left, right, top, bottom = left + _GAP, left + width - _GAP, top + _GAP, top + height - _GAP
        if self.kind == "image":
            scaled = ((value - self.low) / (self.high - self.low)).clip(0, 1).transpose(1, 2, 0)
            picture = scaled.repeat(3, axis=2) if scaled.shape[2] == 1 else scaled
            ax.imshow(picture, extent=(left, right, bottom, top), aspect="auto", zorder=2)
        elif self.kind == "text":
            self._write(ax, value, (left + right) / 2, (top + bottom) / 2, width)
        else:
            self._plot(ax, value.reshape(-1), (left, right, top, bottom))

    @property
    def aspect(self) -> tuple[float, float]:
        """Width and height of a cell: square for pictures, wider for plots, wider and lower for strings."""
        return {"image": (1.0, 1.0), "text": (1.4, 0.55), "vector": (1.4, 1.0)}[self.kind]

    def _write(self, ax: Axes, value: np.ndarray, x: float, y: float, width: float) -> None:
        text = self.string(torch.from_numpy(np.ascontiguousarray(value))).strip()
        colour, text = (INK, text) if text else (MUTED, "(blank)")
        longest = max(map(len, text.splitlines()))
        size = min(8.0, 44.0 * width / longest)  # so that a longer string still fits its cell
        ax.text(x, y, text, ha="center", va="center", fontsize=size, family="monospace", color=colour, clip_on=True)

    def _plot(self, ax: Axes, values: np.ndarray, frame: tuple[float, float, float, float]) -> None:
        left, right, top, bottom = frame
        heights = bottom - (values - self.low) / (self.high - self.low) * (bottom - top)
        heights = heights.clip(top, bottom)
        zero = bottom - (0 - self.low) / (self.high - self.low) * (bottom - top)
        ax.plot([left, right], [zero, zero], color=MUTED, linewidth=0.5, zorder=1)
        if len(values) > _MOST_BARS:
            ax.plot(np.linspace(left, right, len(values)), heights, color=PALETTE[0], linewidth=0.9, zorder=2)
            return
        step = (right - left) / len(values)
        middles = left + step * (np.arange(len(values)) + 0.5)
        ax.bar(middles, heights - zero, bottom=zero, width=0.7 * step, color=PALETTE[0], zorder=2)


def blank(ax: Axes, cell: Cell) -> None:
    """An empty cell: there is nothing to show."""
    left, top, width, height = cell
    corner = (left + _GAP, top + _GAP)
    ax.add_patch(Rectangle(corner, width - 2 * _GAP, height - 2 * _GAP, facecolor=_EMPTY, linewidth=0))


def _codes(value: torch.Tensor) -> str:
    return " ".join(str(each) for each in value.flatten().tolist())
