"""The plain look: one upright white digit on black."""

from __future__ import annotations

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from mmvae.data.digits.glyphs import choose, glyph_atlas, look_up
from mmvae.data.digits.row_draws import Draws

SIZE = 28
UNIFORMS = 32


def plain(labels: Int64[Tensor, "N"], draws: Draws) -> UInt8[Tensor, "N 1 28 28"]:
    """Grey images of the digits, each in a typeface, weight, size and slant of its own."""
    atlas = glyph_atlas()
    chosen = choose(atlas, draws.below(len(atlas.width)), labels)
    height, aspect = draws.between(0.6, 0.8), torch.exp(draws.bell(0.12))
    angle, shear, shift = draws.bell(0.08), draws.bell(0.08), draws.bell(0.03, 2)
    weight, softness = draws.between(-0.3, 0.6), draws.between(1.0, 2.0)

    line = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    x, y = line - shift[:, :1, None], line[:, None] - shift[:, 1:, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    x, y = x * cos + y * sin, y * cos - x * sin
    y = y / height[:, None, None]
    x = x / (height * aspect)[:, None, None] + shear[:, None, None] * y
    distance = look_up(chosen.distance, x, y) + (chosen.stroke * weight)[:, None, None]
    pixel = (softness / (SIZE * height))[:, None, None]
    return (distance / pixel + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)[:, None]
