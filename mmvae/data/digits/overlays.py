"""Digits cut into photographs, put together when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from mmvae.casting import as_models_read
from mmvae.choices import check_choice
from mmvae.seeds import stream

Ink = Literal["inverted", "red", "green", "blue"]
"""Colour inside a digit: that of the photograph inverted, or one that is as bright as the digit."""

_CHANNELS = {"red": 0, "green": 1, "blue": 2}
_RESIZED_AT_A_TIME = 4096


@dataclass(frozen=True)
class Places:
    """Where on a larger image digits may stand.

    Attributes:
        digit: Height and width of a digit, in pixels.
        canvas: Height and width of an image.
        starts: Rows, and columns, at which a digit may begin, ``[p]``.
    """

    digit: int
    canvas: int
    starts: Int64[Tensor, "p"]


class Overlay:
    """Rows that are digits cut into crops of one photograph: inside the digit the colours are others.

    Of every row only the place of its crop, and that of its digit, is kept; the image is put together when it is read.

    Args:
        digits: ``[n, 1, h, w]`` bytes.
        background: ``[3, height, width]`` bytes, larger than an image in both directions.
        seed: Of the places of the crops, which are uniform, and of the digits. As in the original, the last row and
            column of the photograph are never reached.
        places: Where digits may stand, each equally often; by default a digit fills the image.
        ink: Colour inside the digit.
        threshold: Brightness above which a pixel is inside the digit.

    Attributes:
        place: Row and column at which each digit begins, int64 ``[2, n]``.

    Raises:
        ValueError: For a background that is no larger than an image, or is no colour image, or an unknown ink.
        TypeError: For values that are no bytes.

    Source: Sutter et al. 2021 (MoPoE), the recipe of PolyMNIST.
    """

    def __init__(
        self,
        digits: UInt8[Tensor, "n 1 h w"],
        background: UInt8[Tensor, "3 H W"],
        seed: int,
        *,
        places: Places | None = None,
        ink: Ink = "inverted",
        threshold: int = 128,
    ) -> None:
        if digits.dtype != torch.uint8 or background.dtype != torch.uint8:
            raise TypeError(f"overlay: digits and background are bytes, got {digits.dtype} and {background.dtype}.")
        if background.ndim != 3 or len(background) != 3:
            raise ValueError(f"overlay: expected a background [3, height, width], got {tuple(background.shape)}.")
        check_choice("ink", ink, get_args(Ink))
        self._size = tuple(digits.shape[2:]) if places is None else (places.canvas, places.canvas)
        room = [background.shape[1] - self._size[0], background.shape[2] - self._size[1]]
        if min(room) < 1:
            raise ValueError(
                f"overlay: a background of {tuple(background.shape[1:])} pixels has no room for crops of "
                f"{self._size}; take a larger image."
            )
        generator = stream(seed, "crops")
        self._digits = digits  # not a copy: five modalities share them
        self._background = background
        self._ink, self._threshold = ink, threshold
        self._corner = torch.stack([torch.randint(size, (len(digits),), generator=generator) for size in room])
        if places is None:
            self.place = torch.zeros_like(self._corner)
        else:
            drawn = torch.randint(len(places.starts), (2, len(digits)), generator=stream(seed, "places"))
            self.place = places.starts[drawn]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return (3, *self._size)

    def __len__(self) -> int:
        return len(self._digits)

    def take(self, rows: Int64[Tensor, "B"]) -> Float[Tensor, "B 3 H W"]:
        """The images of these rows, in [0, 1]."""
        height, width = self._size
        windows = self._background.unfold(1, height, 1).unfold(2, width, 1)  # [3, tops, lefts, H, W], a view
        top, left = self._corner.index_select(1, rows)
        crop = windows.movedim(0, 2)[top, left]  # [B, 3, H, W]
        digit = self._placed(rows)
        inside = digit > self._threshold
        if self._ink == "inverted":
            return as_models_read(crop ^ (inside.to(torch.uint8) * 255))  # of a byte, x ^ 255 = 255 - x
        colour = torch.zeros_like(crop)
        colour[:, _CHANNELS[self._ink]] = digit[:, 0]
        return as_models_read(torch.where(inside, colour, crop))

    def to(self, device: torch.device) -> Overlay:
        """The same rows on another device."""
        moved = Overlay.__new__(Overlay)
        vars(moved).update(
            {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        )
        return moved

    def _placed(self, rows: Int64[Tensor, "B"]) -> UInt8[Tensor, "B 1 H W"]:
        """The digits of these rows on black images."""
        digits = self._digits.index_select(0, rows)
        if digits.shape[2:] == self._size:
            return digits
        (row, is_row), (column, is_column) = (
            _within(start, total, size)
            for start, total, size in zip(self.place.index_select(1, rows), self._size, digits.shape[2:], strict=True)
        )
        image = torch.arange(len(rows), device=rows.device)[:, None, None]
        found = digits[image, 0, row[:, :, None], column[:, None, :]]
        return (found * (is_row[:, :, None] & is_column[:, None, :])).unsqueeze(1)


def resized(digits: UInt8[Tensor, "n 1 h w"], size: int) -> UInt8[Tensor, "n 1 size size"]:
    """Digits of another size, by bilinear interpolation."""
    parts = [
        interpolate(part.float(), (size, size), mode="bilinear", align_corners=False).round().to(torch.uint8)
        for part in digits.split(_RESIZED_AT_A_TIME)
    ]
    return torch.cat(parts)


def _within(
    start: Int64[Tensor, "B"], total: int, size: int
) -> tuple[Int64[Tensor, "B total"], Bool[Tensor, "B total"]]:
    """For each of so many pixels, which pixel of a digit that begins at ``start`` it shows, and whether it does."""
    pixel = torch.arange(total, device=start.device) - start[:, None]
    return pixel.clamp(0, size - 1), (pixel >= 0) & (pixel < size)
