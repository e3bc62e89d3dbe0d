"""Digits of many typefaces as signed distances, and how to look them up under a warp."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from PIL import Image, ImageFont

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


_TILE = 64
_HEIGHT = 40  # pixels of a tile that the digit's height takes; the rest is a margin for its distances
_OVERSAMPLING = 2
_SANS, _SANS_BOLD, _MONO = 0x1D7E2, 0x1D7EC, 0x1D7F6  # further digits that the mathematical fonts hold

# Files that come with matplotlib, and the code point of the digit 0 in each.
_FACES = (
    ("DejaVuSans", 0x30),
    ("DejaVuSans-Bold", 0x30),
    ("DejaVuSans-Oblique", 0x30),
    ("DejaVuSans-BoldOblique", 0x30),
    ("DejaVuSerif", 0x30),
    ("DejaVuSerif-Bold", 0x30),
    ("DejaVuSerif-Italic", 0x30),
    ("DejaVuSerif-BoldItalic", 0x30),
    ("STIXGeneral", 0x30),
    ("STIXGeneralBol", 0x30),
    ("STIXGeneralItalic", 0x30),
    ("STIXGeneralBolIta", 0x30),
    ("STIXGeneral", _SANS),
    ("STIXGeneral", _SANS_BOLD),
    ("STIXGeneral", _MONO),
    ("cmr10", 0x30),
    ("cmb10", 0x30),
    ("cmss10", 0x30),
    ("cmti10", 0x30),
    ("cmtt10", 0x30),
)


class GlyphAtlas(NamedTuple):
    """Ten digits in F typefaces; lengths are in digit heights."""

    distance: Float[Tensor, "F 10 T T"]
    """Signed distance to the outline, positive inside, on a square tile around the digit's centre."""
    width: Float[Tensor, "F 10"]
    stroke: Float[Tensor, "F 10"]
    """Half of the widest stroke."""


@lru_cache(maxsize=1)
def glyph_atlas() -> GlyphAtlas:
    """The digits of typefaces that come with matplotlib, of Pillow's own, and of two hand-laid skeletons."""
    from PIL import ImageFont

    # The specification tells where the fonts lie without loading matplotlib.
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("rendered digits need the fonts that come with matplotlib; install it.")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    size = 2 * _HEIGHT * _OVERSAMPLING
    fonts = [(ImageFont.truetype(folder / f"{name}.ttf", size), zero) for name, zero in _FACES]
    own = ImageFont.load_default(size)
    assert isinstance(own, ImageFont.FreeTypeFont)  # it is the bitmap font only where no size is asked for
    fonts.append((own, 0x30))
    faces = [[_printed(font, chr(zero + digit)) for digit in range(10)] for font, zero in fonts]
    faces += [[drawn(strokes, pen, size) for strokes in hand] for hand in SKELETONS for pen in PENS]
    glyphs = [[_signed_distance(ink) for ink in face] for face in faces]
    distance = torch.from_numpy(np.array([[tile for tile, _ in row] for row in glyphs], dtype=np.float32))
    width = torch.tensor([[width for _, width in row] for row in glyphs])
    return GlyphAtlas(distance, width, distance.amax((-2, -1)))


def _printed(font: ImageFont.FreeTypeFont, character: str) -> Image.Image:
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(character)
    ink = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(ink).text((-left, -top), character, font=font, fill=255)
    return ink


def _signed_distance(ink: Image.Image) -> tuple[np.ndarray, float]:
    """The tile of one digit, scaled to the common height, and its width."""
    from PIL import Image
    from scipy.ndimage import distance_transform_edt

    ink = ink.crop(ink.getbbox())
    height = _HEIGHT * _OVERSAMPLING
    width = round(ink.width * height / ink.height)
    side = _TILE * _OVERSAMPLING
    canvas = Image.new("L", (side, side))
    canvas.paste(ink.resize((width, height), Image.Resampling.LANCZOS), ((side - width) // 2, (side - height) // 2))
    inside = np.asarray(canvas) > 127
    # Distances between pixel centres; the outline runs halfway between ink and ground.
    pixels = np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside))
    tile = pixels.reshape(_TILE, _OVERSAMPLING, _TILE, _OVERSAMPLING).mean((1, 3))
    return tile / height, width / height


def look_up(
    distance: Float[Tensor, "N T T"], x: Float[Tensor, "N H W"], y: Float[Tensor, "N H W"]
) -> Float[Tensor, "N H W"]:
    """Signed distances at points given in digit heights from the digit's centre (y downwards)."""
    grid = torch.stack([x, y], -1) * (2 * _HEIGHT / _TILE)
    return functional.grid_sample(distance[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def choose(atlas: GlyphAtlas, face: Int64[Tensor, "*B"], digit: Int64[Tensor, "*B"]) -> GlyphAtlas:
    """The digits asked for: distances ``[*B, T, T]``, widths and strokes ``[*B]``."""
    return GlyphAtlas(atlas.distance[face, digit], atlas.width[face, digit], atlas.stroke[face, digit])
