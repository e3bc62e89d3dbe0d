"""Digits of many typefaces as signed distances, and how to look them up under a warp."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from PIL import Image, ImageFont

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

    from mmvae.data.rendered_skeletons import PENS, SKELETONS, drawn

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
