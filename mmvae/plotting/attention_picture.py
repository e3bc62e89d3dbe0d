"""Attention over patches and over text as a grid: a column for each datum, a line for each token that looks."""

from __future__ import annotations

import textwrap

import numpy as np
import torch
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmvae.plotting.attention import AttentionMaps
from mmvae.plotting.cells import Cells, Render, blank
from mmvae.plotting.style import INK, MUTED, PALETTE, bare, new_figure, style

_WIDTH = 6.0
"""Of the columns of a page, in inches."""
_LETTER, _LINE = 0.075, 0.17
"""Width of a letter and height of a line of text, in inches."""
_HEADING, _SPACE = 0.26, 0.16
_LABELS, _LEAST_WIDTH = 1.15, 4.2
_GAP = 0.04
_STRONGEST, _FULL = 0.85, 4.0
"""The largest opacity, and at how many times an even share of the attention it is reached."""


def attention_maps(arrays: AttentionMaps, render: Render | None = None) -> Figure:
    """The data, and below it where each token looks: orange where it looks, full from four times an even share on.

    Args:
        arrays: from :meth:`AttentionMaps.of`.
        render: by modality, a callable from codes ``[1]``, one token, to the string to show.
    """
    count = len(next(iter(arrays.observed.values())))
    cell = min(1.1, _WIDTH / count)
    words = {
        name: [[_word(token, name, render) for token in row] for row in arrays.data[name]]
        for name in arrays.weights
        if name not in arrays.grids
    }
    letters = int((cell - 2 * _GAP) / _LETTER)
    lines = {name: max(len(wrapped(row, letters)) for row in rows) for name, rows in words.items()}
    heights = [
        _HEADING + _SPACE + _rows(arrays, name) * (cell if name in arrays.grids else _text_height(lines.get(name, 0)))
        for name in arrays.names
    ]
    right, bottom = max(count * cell, _LEAST_WIDTH), sum(heights)
    figure = new_figure(_LABELS + right, bottom)
    figure.set_layout_engine("none")  # the axes are the page, in inches
    with style():
        ax = figure.add_axes((0, 0, 1, 1))
        top = 0.0
        for name, height in zip(arrays.names, heights, strict=True):
            ax.text(0, top + 0.6 * _HEADING, name, ha="left", va="center", fontsize=8.5, weight="bold")
            reason = arrays.unavailable.get(name)
            if reason:
                place = (0.1 * len(name) + 0.15, top + 0.6 * _HEADING)
                ax.text(*place, f"not available: {reason}", ha="left", va="center", fontsize=7, color=MUTED)
            if name in arrays.grids:
                _images(ax, arrays, name, top + _HEADING, cell)
            elif name in words:
                _texts(ax, arrays, name, words[name], top + _HEADING, (cell, _text_height(lines[name]), letters))
            top += height
        bare(ax)
        ax.set(xlim=(-_LABELS, right), ylim=(bottom, 0))
    return figure


def wrapped(words: list[str], letters: int) -> list[list[int]]:
    """The places of words in lines of at most so many letters; a longer word has a line of its own."""
    gap = _gap(words)
    lines: list[list[int]] = [[]]
    used = 0
    for place, word in enumerate(words):
        if lines[-1] and used + len(word) > letters:
            lines.append([])
            used = 0
        lines[-1].append(place)
        used += len(word) + gap
    return lines


def _rows(arrays: AttentionMaps, name: str) -> int:
    """Lines of the grid for a modality: the picture, which text does not need, and one for each that looks."""
    return len(arrays.weights.get(name, {})) + (name in arrays.grids)


def _text_height(lines: int) -> float:
    return lines * _LINE + 0.1 if lines else 0.0


def _label(ax: Axes, text: str, middle: float) -> None:
    text = "\n".join(textwrap.wrap(text, 17))
    ax.text(-0.08, middle, text, ha="right", va="center", fontsize=7.5, color=MUTED)


def _images(ax: Axes, arrays: AttentionMaps, name: str, top: float, cell: float) -> None:
    cells = Cells.of(name, arrays.data[name])
    for line, looker in enumerate([None, *arrays.weights[name]]):
        above = top + line * cell
        _label(ax, looker or "data", above + cell / 2)
        for column, value in enumerate(arrays.data[name]):
            frame = (column * cell, above, cell, cell)
            if not arrays.observed[name][column]:
                blank(ax, frame)
                continue
            cells.draw(ax, value, frame)
            if looker is not None:
                weights = arrays.weights[name][looker][column].reshape(arrays.grids[name])
                _glow(ax, weights, frame)


def _glow(ax: Axes, weights: Float[np.ndarray, "R C"], frame: tuple[float, float, float, float]) -> None:
    """The weights as opacity of a colour, over what is there already, which is dimmed first."""
    left, above, width, height = frame
    extent = (left + _GAP, left + width - _GAP, above + height - _GAP, above + _GAP)
    corner, size = (extent[0], extent[3]), (width - 2 * _GAP, height - 2 * _GAP)
    ax.add_patch(Rectangle(corner, *size, facecolor="black", alpha=0.35, linewidth=0, zorder=3))
    colours = np.ones((*weights.shape, 4)) * to_rgba(PALETTE[1])
    colours[..., 3] = _STRONGEST * strength(weights)
    ax.imshow(colours, extent=extent, aspect="auto", zorder=4)


def strength(weights: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The weights over a few times an even share of them, at most one; tokens that nobody can look at have no share."""
    even = float(weights.sum()) / max(int((weights > 0).sum()), 1)
    return (weights / max(_FULL * even, 1e-12)).clip(0, 1)


def _texts(
    ax: Axes,
    arrays: AttentionMaps,
    name: str,
    words: list[list[str]],
    top: float,
    sizes: tuple[float, float, int],
) -> None:
    cell, height, letters = sizes
    for line, (looker, weights) in enumerate(arrays.weights[name].items()):
        above = top + line * height
        _label(ax, looker, above + height / 2)
        for column, row in enumerate(words):
            if not arrays.observed[name][column]:
                blank(ax, (column * cell, above, cell, height))
                continue
            _write(ax, row, strength(weights[column]), (column * cell + _GAP, above + 0.05, letters))


def _write(ax: Axes, words: list[str], weights: np.ndarray, place: tuple[float, float, int]) -> None:
    left, above, letters = place
    gap = _gap(words)
    for turn, line in enumerate(wrapped(words, letters)):
        x, y = left, above + turn * _LINE
        for index in line:
            width = len(words[index]) * _LETTER
            opacity = _STRONGEST * float(weights[index])
            ax.add_patch(Rectangle((x, y), width, 0.9 * _LINE, facecolor=PALETTE[1], alpha=opacity, linewidth=0))
            middle = (x + width / 2, y + 0.45 * _LINE)
            ax.text(*middle, words[index], ha="center", va="center", fontsize=7.5, family="monospace", color=INK)
            x += width + gap * _LETTER


def _gap(words: list[str]) -> int:
    """Letters between words: none where all tokens are single letters."""
    return 0 if all(len(word) == 1 for word in words) else 1


def _word(token: Shaped[np.generic, ""], name: str, render: Render | None) -> str:
    if render is None or name not in render:
        return str(token)
    return render[name](torch.as_tensor(np.asarray([token]))).strip() or "\N{MIDDLE DOT}"
