"""The look of street numbers: coloured plates, neighbouring digits, light, blur and noise."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from mmvae.data.digits.glyphs import GlyphAtlas, choose, glyph_atlas, look_up
from mmvae.data.digits.row_draws import Draws

SIZE = 32
UNIFORMS = 256
NORMALS = 3 * SIZE * SIZE + 3 * 8 * 8
_CANVAS = 48  # pixels a side that are drawn before the camera blurs them down to SIZE


class _Field(NamedTuple):
    """What the plate looks like as geometry; distances in digit heights, positive inside."""

    digits: Float[Tensor, "N C C"]
    plate: Float[Tensor, "N C C"]
    stroke: Float[Tensor, "N"]
    pixel: Float[Tensor, "N"]
    """Height of a canvas pixel."""


def street(labels: Int64[Tensor, "N"], draws: Draws) -> UInt8[Tensor, "N 3 32 32"]:
    """Colour images of the digits, as a camera sees them in a row of digits on a house."""
    return _camera(_paint(_geometry(labels, draws), draws), draws).mul(255).round().to(torch.uint8)


def _column(value: Tensor) -> Tensor:
    return value[:, None, None]


class _Number(NamedTuple):
    """A row of digits, of which the middle one of five places is the labelled; lengths in digit heights."""

    glyphs: GlyphAtlas  # distance [N, 5, T, T], width [N, 5]
    exists: Bool[Tensor, "N 5"]
    centre: Float[Tensor, "N 5"]
    lift: Float[Tensor, "N 5"]
    left: Float[Tensor, "N"]
    right: Float[Tensor, "N"]


def _number(labels: Int64[Tensor, "N"], draws: Draws) -> _Number:
    """Two neighbours to each side, of which those exist that the number's length and the place in it allow."""
    atlas = glyph_atlas()
    face = draws.below(len(atlas.width))[:, None].expand(-1, 5)
    slot = torch.arange(-2, 3)
    digit = torch.where(slot == 0, labels[:, None], draws.below(10, 5))
    glyphs = choose(atlas, face, digit)
    length = 1 + (draws.unit()[:, None] >= torch.tensor([0.08, 0.54, 0.88])).sum(1)
    place = (draws.unit() * length).long()
    exists = (place[:, None] + slot >= 0) & (place[:, None] + slot < length[:, None])

    width, gap = glyphs.width, draws.between(-0.02, 0.28)
    steps = (width[:, 1:] + width[:, :-1]) / 2 + gap[:, None]  # from each place to the next
    centre = torch.stack([-steps[:, :2].sum(1), -steps[:, 1], 0 * gap, steps[:, 2], steps[:, 2:].sum(1)], 1)
    stairs = torch.where(draws.chance(0.15), draws.bell(0.25), 0.0)[:, None]  # numbers that climb the wall
    lift = torch.where(slot == 0, 0.0, draws.bell(0.03, 5) + stairs * slot)
    left = (centre - width / 2).masked_fill(~exists, math.inf).amin(1)
    right = (centre + width / 2).masked_fill(~exists, -math.inf).amax(1)
    return _Number(glyphs, exists, centre, lift, left, right)


def _points(width: Float[Tensor, "N"], draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Where the canvas' pixels lie beside the digit's centre, x and y ``[N, C, C]``, and the height of a pixel.

    Shift, perspective, turn, scale and shear, in digit heights.
    """
    height = draws.between(0.5, 0.92)  # of the digit, as a part of the image
    aspect = torch.exp(draws.bell(0.3) - 0.38)
    height = torch.minimum(height, 0.95 / (width * aspect))
    angle = torch.where(draws.chance(0.2), draws.bell(0.2), draws.bell(0.06))
    shear, tilt, keystone = _column(draws.bell(0.13)), _column(draws.bell(0.16)), _column(draws.bell(0.16))
    shift = draws.bell(0.035, 2)
    line = (torch.arange(_CANVAS) + 0.5) / _CANVAS - 0.5
    x, y = line - _column(shift[:, 0]), line[:, None] - _column(shift[:, 1])
    depth = 1 + tilt * x + keystone * y
    x, y = x / depth, y / depth
    cos, sin = _column(angle.cos()), _column(angle.sin())
    x, y = x * cos + y * sin, y * cos - x * sin
    y = y / _column(height)
    x = x / _column(height * aspect) + shear * y
    return x, y, 1 / (_CANVAS * height)


def _geometry(labels: Int64[Tensor, "N"], draws: Draws) -> _Field:
    number = _number(labels, draws)
    x, y, pixel = _points(number.glyphs.width[:, 2], draws)

    # Other typefaces: the waist higher or lower, the top wider or narrower than the foot, lines less straight.
    bend = _column(draws.bell(0.02)) * torch.sin(5 * y + _column(draws.between(0, 2 * math.pi)))
    x_face = x * (1 + _column(draws.bell(0.1)) * y.clamp(-0.6, 0.6)) + bend
    y_face = y + _column(draws.bell(0.12)) * (0.25 - y.square()).clamp(min=0)
    glyphs = look_up(
        number.glyphs.distance.flatten(0, 1),
        (x_face[:, None] - number.centre[:, :, None, None]).flatten(0, 1),
        (y_face[:, None] - number.lift[:, :, None, None]).flatten(0, 1),
    ).view(-1, 5, _CANVAS, _CANVAS)
    digits = glyphs.masked_fill(~number.exists[:, :, None, None], -1.0).amax(1)

    # Most plates are larger than the crop, above and below more so than at the sides.
    margin = draws.between(0.08, 0.9, 4)
    margin = torch.where(draws.unit(4) < torch.tensor([0.3, 0.3, 0.12, 0.12]), margin, 9.0)
    left, right = number.left - margin[:, 0], number.right + margin[:, 1]
    top, bottom = -0.5 - margin[:, 2], 0.5 + margin[:, 3]
    sides = torch.stack([x - _column(left), _column(right) - x, y - _column(top), _column(bottom) - y])
    return _Field(digits, sides.amin(0), number.glyphs.stroke[:, 2], pixel)


def _colours(draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ground, digit, outline and wall, each ``[N, 3]``."""

    def tint(strength: float) -> Tensor:
        strong = torch.where(draws.chance(0.2), 2.3, 0.9)
        warm, green = draws.bell(strength) * strong, draws.bell(0.35 * strength) * strong
        return torch.stack([-warm, 0.1 * warm + green, warm], 1) + torch.tensor([-0.012, -0.004, 0.022])

    light = (0.48 + draws.bell(0.22)).clamp(0.08, 0.92)
    contrast = torch.exp(math.log(0.33) + draws.bell(0.5)).clamp(0.1, 0.75)
    up = draws.unit() < 1 - light
    other = torch.where(up, light + contrast, light - contrast)
    ground = light[:, None] + tint(0.05)
    digit = other[:, None] + tint(0.05)
    outline = draws.between(0.0, 1.0)[:, None] + tint(0.05)
    wall = (light + draws.bell(0.22)).clamp(0.05, 0.9)[:, None] + tint(0.07)
    return ground, digit, outline, wall


def _paint(field: _Field, draws: Draws) -> Float[Tensor, "N 3 C C"]:
    ground, digit, outline, wall = (colour[:, :, None, None] for colour in _colours(draws))
    pixel = _column(field.pixel)
    across = torch.linspace(-1, 1, _CANVAS).expand(len(pixel), _CANVAS, _CANVAS)
    down = across.transpose(1, 2)

    def cover(distance: Tensor, softness: Tensor | float = 1.0) -> Tensor:
        return (distance / (softness * pixel) + 0.5).clamp(0, 1)[:, None]

    def shade(strength: float) -> Tensor:
        slope = draws.bell(strength, 2)
        return (_column(slope[:, 0]) * across + _column(slope[:, 1]) * down)[:, None]

    weight = field.stroke * draws.between(-0.2, 0.7)
    digits = field.digits + _column(weight)
    image = ground + shade(0.05)
    texture = functional.interpolate(draws.noise(3, 8, 8), size=(_CANVAS, _CANVAS), mode="bilinear")
    grey = texture.mean(1, keepdim=True)
    rough = draws.unit() ** 3 * 0.1
    image = image + _column(rough)[:, None] * (grey + 0.3 * texture)

    # Shadow or light edge: the same digits, moved.
    drop = draws.bell(0.06, 2)
    moved = functional.grid_sample(
        digits[:, None],
        torch.stack([across - _column(drop[:, 0]), down - _column(drop[:, 1])], -1),
        padding_mode="border",
        align_corners=False,
    )[:, 0]
    soft = draws.between(1.0, 6.0)
    depth = torch.where(draws.chance(0.35), draws.between(-0.15, 0.4), 0.0)
    image = image * (1 - _column(depth)[:, None] * cover(moved, _column(soft)))

    rim = draws.between(0.02, 0.09)
    rimmed = draws.chance(0.12)[:, None, None, None]
    image = torch.where(rimmed, torch.lerp(image, outline, cover(digits + _column(rim))), image)
    ink = digit + shade(0.05) + (_column(draws.between(0.0, 0.05)))[:, None] * grey
    image = torch.lerp(image, ink, cover(digits))

    # The plate: its frame in the digits' colour, the wall beyond.
    frame, inset = draws.between(0.01, 0.05), draws.between(0.03, 0.12)
    framed = draws.chance(0.25)[:, None, None, None]
    band = _column(frame) - (field.plate - _column(inset)).abs()
    image = torch.where(framed, torch.lerp(image, digit, cover(band)), image)
    beyond = wall + shade(0.1) + _column(draws.between(0.0, 0.12))[:, None] * grey
    return torch.lerp(beyond, image, cover(field.plate))


def _smoothing(centre: Tensor, sigma: Float[Tensor, "*B"], size: int) -> Float[Tensor, "*B K S"]:
    """Rows of Gaussian weights that take a line of ``size`` samples to blurred samples at ``centre`` (in [0, 1])."""
    line = (torch.arange(size) + 0.5) / size
    weights = torch.exp(-0.5 * ((line - centre[..., None]) / sigma[..., None, None]).square())
    return weights / weights.sum(-1, keepdim=True)


def _blur(image: Float[Tensor, "N C 32 32"], sigma: Float[Tensor, "N"]) -> Float[Tensor, "N C 32 32"]:
    pixels = (torch.arange(SIZE) + 0.5) / SIZE
    weights = _smoothing(pixels, sigma / SIZE, SIZE)[:, None]
    return weights @ image @ weights.transpose(-1, -2)


def _camera(image: Float[Tensor, "N 3 C C"], draws: Draws) -> Float[Tensor, "N 3 32 32"]:
    across = torch.linspace(-1, 1, _CANVAS).expand(_CANVAS, _CANVAS)
    # Light that falls off to a side, and the edge of a shadow.
    slope, bend = draws.bell(0.07, 2) * torch.tensor([1.5, 0.6]), draws.bell(0.05)
    light = 1 + _column(slope[:, 0]) * across + _column(slope[:, 1]) * across.T + _column(bend) * across * across.T
    angle, offset = draws.between(0, 2 * math.pi), draws.between(-1, 1)
    edge = _column(angle.cos()) * across + _column(angle.sin()) * across.T - _column(offset)
    dark = torch.where(draws.chance(0.12), draws.between(0.2, 0.6), 0.0)
    light = light * (1 - _column(dark) * torch.sigmoid(edge * _column(draws.between(4.0, 20.0))))
    gain = torch.exp(draws.bell(0.08))
    image = image.clamp(0, 1) * (light * _column(gain))[:, None]

    # Lens and resolution: blur in pixels of the result, each colour a little apart.
    base = torch.exp(math.log(1.1) + draws.bell(0.45)).clamp(0.5, 2.6)
    stretch = torch.exp(draws.bell(0.25))
    fringe = 0.3 * draws.bell(1.0, 2)
    channel = torch.tensor([-1.0, 0.0, 1.0])
    pixels = (torch.arange(SIZE) + 0.5) / SIZE
    centre = pixels + (fringe[:, :, None] * channel)[..., None] / SIZE  # (N, 2, 3, 32)
    sigma = (torch.stack([base * stretch, base / stretch], 1) / SIZE)[:, :, None].expand(-1, -1, 3)
    horizontal, vertical = _smoothing(centre, sigma, _CANVAS).unbind(1)  # (N, 3, 32, C)
    image = vertical @ image @ horizontal.transpose(-1, -2)  # (N, 3, 32, 32)

    # The camera sharpens, and compression blurs colour more than light.
    sharpen = torch.where(draws.chance(0.6), draws.between(0.0, 1.0), 0.0)
    image = image + _column(sharpen)[:, None] * (image - _blur(image, 1.6 * base))
    grey = image.mean(1, keepdim=True)
    image = grey + _blur(image - grey, draws.between(0.5, 2.5))

    # Sensor noise, as coarse as the resolution, and more of it in the light than in the colours.
    grain = _blur(draws.noise(3, SIZE, SIZE), draws.between(0.3, 1.2))
    grain = grain.mean(1, keepdim=True) + 0.2 * grain
    strength = draws.unit() ** 2 * 0.03
    return (image + _column(strength)[:, None] * grain / grain.std((1, 2, 3), keepdim=True)).clamp(0, 1)
