"""Images that stay in their files until they are looked at."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from mmvae.choices import check_choice
from mmvae.data.images import SourceNotFound
from mmvae.files import reading

Normalisation = Literal["none", "half", "imagenet", "clip"]
"""Which mean and spread of colours are taken off: none (values in [0, 1]), a half (in [-1, 1]), or those that networks
pretrained on ImageNet, and CLIP, expect."""

Fit = Literal["crop", "squeeze"]
"""How a picture becomes square: the middle of it is cut out, as wide as its shorter side; or all of it is squeezed."""

_COLOURS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


class ImageFiles:
    """Rows that are image files: decoded, made square and of one size, and normalised, each time they are taken.

    Args:
        paths: of the files, any kind that Pillow reads.
        size: sides of an image, in pixels; resized bicubically.
        normalisation: of the colours.
        fit: how pictures become square.
        keep: keep what was decoded, as bytes: n * 3 * size * size of them. The second look is then quick.

    Raises:
        ValueError: for no files, a size below 1, or an unknown normalisation or fit.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        *,
        normalisation: Normalisation = "none",
        fit: Fit = "crop",
        keep: bool = False,
    ) -> None:
        check_choice("normalisation", normalisation, get_args(Normalisation))
        check_choice("fit", fit, get_args(Fit))
        if not paths or size < 1:
            raise ValueError(f"images: expected files and a size of at least 1, got {len(paths)} files, size {size}.")
        self._paths, self._size, self._fit = tuple(paths), size, fit
        self._mean, self._spread = (torch.tensor(colour).reshape(3, 1, 1) for colour in _COLOURS[normalisation])
        self._kept: Tensor | None = torch.empty(len(paths), *self.shape, dtype=torch.uint8) if keep else None
        self._is_kept = torch.zeros(len(paths), dtype=torch.bool)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image."""
        return 3, self._size, self._size

    def __len__(self) -> int:
        return len(self._paths)

    def take(self, rows: Int64[Tensor, "B"]) -> Float[Tensor, "B 3 H W"]:
        """The images of these rows, on the device of this object.

        Raises:
            SourceNotFound: if a file is absent.
            ValueError: if one is damaged.
        """
        pixels = self._pixels(rows.cpu()).to(self._mean.device)
        return (pixels.to(torch.float32).div_(255) - self._mean) / self._spread

    def to(self, device: torch.device) -> ImageFiles:
        """The same images, handed out on another device."""
        moved = copy.copy(self)
        moved._mean, moved._spread = self._mean.to(device), self._spread.to(device)
        return moved

    def _pixels(self, rows: Int64[Tensor, "B"]) -> UInt8[Tensor, "B 3 H W"]:
        if self._kept is None:
            return self._decoded(rows)
        new = rows[~self._is_kept[rows]].unique()
        if len(new):
            self._kept[new] = self._decoded(new)
            self._is_kept[new] = True
        return self._kept[rows]

    def _decoded(self, rows: Int64[Tensor, "B"]) -> UInt8[Tensor, "B 3 H W"]:
        pixels = torch.empty(len(rows), *self.shape, dtype=torch.uint8)
        numbers = rows.tolist()
        with ThreadPoolExecutor(
            min(len(numbers), os.cpu_count() or 1) or 1
        ) as pool:  # decoding is out of Python's lock
            for place, picture in enumerate(pool.map(self._picture, numbers)):
                pixels[place] = torch.from_numpy(picture).movedim(-1, 0)
        return pixels

    def _picture(self, row: int) -> UInt8[np.ndarray, "H W 3"]:
        from PIL import Image

        path = self._paths[row]
        if not path.is_file():
            raise SourceNotFound(f"images: looked for {path.name} in {path.parent}, and did not find it.")
        with reading(path, "images", "Fetch it again."), Image.open(path) as file:
            picture = file.convert("RGB")
        frame = _middle(picture.size) if self._fit == "crop" else None
        return np.array(picture.resize((self._size, self._size), Image.Resampling.BICUBIC, box=frame))


def _middle(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the largest square in the middle."""
    width, height = size
    side = min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
