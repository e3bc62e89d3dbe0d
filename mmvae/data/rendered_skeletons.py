"""Digits drawn with a pen along hand-laid lines: shapes that house numbers have and text faces lack.

A bare bar for the one, a flat-topped three, an open four, six and nine with straight stems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

Stroke = list[tuple[float, float]]
"""Points joined by lines; digits are 1 high, y downwards."""


def _arc(x: float, y: float, across: float, down: float, start: float, end: float) -> Stroke:
    """Part of an ellipse around (x, y); degrees from the right, clockwise."""
    angles = [math.radians(start + (end - start) * step / 24) for step in range(25)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


def _turned(strokes: list[Stroke]) -> list[Stroke]:
    return [[(0.6 - x, 1 - y) for x, y in stroke] for stroke in strokes]


_STRAIGHT_SIX = [[(0.42, 0.0), (0.04, 0.55)], _arc(0.3, 0.69, 0.3, 0.31, 0, 360)]
_CURVED_SIX = [_arc(0.56, 0.69, 0.56, 0.69, 275, 180), _arc(0.3, 0.7, 0.3, 0.3, 0, 360)]
_BOWL = _arc(0.27, 0.69, 0.32, 0.31, -110, 150)
_EIGHT = [_arc(0.3, 0.25, 0.25, 0.25, 0, 360), _arc(0.3, 0.74, 0.3, 0.26, 0, 360)]

SKELETONS: tuple[tuple[list[Stroke], ...], ...] = (
    (
        [_arc(0.3, 0.5, 0.3, 0.5, 0, 360)],
        [[(0.0, 0.0), (0.0, 1.0)]],
        [[*_arc(0.3, 0.3, 0.3, 0.3, 180, 385), (0.0, 1.0), (0.6, 1.0)]],
        [[(0.02, 0.0), (0.56, 0.0), (0.22, 0.4), *_BOWL]],
        [[(0.14, 0.0), (0.0, 0.65), (0.6, 0.65)], [(0.42, 0.3), (0.42, 1.0)]],
        [[(0.55, 0.0), (0.1, 0.0), (0.05, 0.46), *_BOWL]],
        _STRAIGHT_SIX,
        [[(0.0, 0.0), (0.6, 0.0), (0.18, 1.0)]],
        _EIGHT,
        _turned(_STRAIGHT_SIX),
    ),
    (
        [
            _arc(0.25, 0.25, 0.25, 0.25, 180, 360) + _arc(0.25, 0.75, 0.25, 0.25, 0, 180) + [(0.0, 0.25)],
        ],
        [[(0.0, 0.28), (0.26, 0.0), (0.26, 1.0)]],
        [
            [
                *_arc(0.28, 0.28, 0.28, 0.28, 190, 360),
                *[(0.52, 0.45), (0.3, 0.65), (0.08, 0.85), (0.0, 1.0), (0.58, 1.0), (0.58, 0.9)],
            ]
        ],
        [_arc(0.28, 0.25, 0.27, 0.25, -155, 85), _arc(0.28, 0.74, 0.31, 0.26, -85, 155)],
        [[(0.44, 1.0), (0.44, 0.0), (0.0, 0.7), (0.6, 0.7)]],
        [[(0.55, 0.0), (0.08, 0.0), (0.06, 0.42)], _arc(0.24, 0.7, 0.34, 0.3, -140, 160)],
        _CURVED_SIX,
        [[(0.0, 0.12), (0.0, 0.0), (0.6, 0.0), (0.4, 0.3), (0.28, 0.6), (0.24, 1.0)]],
        _EIGHT,
        _turned(_CURVED_SIX),
    ),
)
"""For each hand the strokes of the digits 0 to 9."""

PENS = ((0.07, 0.07, 0.0), (0.1, 0.03, -25.0), (0.1, 0.03, 0.0))
"""Half-axes (in digit heights) and slant (degrees) of the pens: a round one, and a broad one held aslant or level."""


def drawn(strokes: Sequence[Stroke], pen: tuple[float, float, float], size: int) -> Image.Image:
    """White on black, about ``size`` pixels high."""
    long, short, slant = pen
    dots = []
    for stroke in strokes:
        points = np.array(stroke)
        lengths = np.hypot(*np.diff(points, axis=0).T)
        for start, end, length in zip(points[:-1], points[1:], lengths, strict=True):
            steps = max(2, math.ceil(length / short * 6))
            dots.append(start + np.linspace(0, 1, steps)[:, None] * (end - start))
    centres = np.concatenate(dots)
    corner = centres.min(0) - long
    rows, columns = (np.ceil((centres.max(0) + long - corner) * size).astype(int) + 1)[::-1]
    ink = np.zeros((rows, columns), dtype=bool)
    reach = math.ceil(long * size)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] / size
    cos, sin = math.cos(math.radians(slant)), math.sin(math.radians(slant))
    nib = ((x * cos + y * sin) / long) ** 2 + ((y * cos - x * sin) / short) ** 2 <= 1
    for column, row in np.round((centres - corner) * size).astype(int):
        top, left = max(row - reach, 0), max(column - reach, 0)
        part = ink[top : row + reach + 1, left : column + reach + 1]
        part |= nib[top - row + reach :, left - column + reach :][: part.shape[0], : part.shape[1]]
    return Image.fromarray(ink.astype(np.uint8) * 255)
