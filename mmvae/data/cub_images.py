"""The images of CUB-200-2011, decoded and made 64 pixels wide and high."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mmvae.data.cub_files import Bird
from mmvae.data.images import SourceNotFound
from mmvae.files import write_whole

SIZE = 64

_VERSION = 1  # to be raised with every change of how images are made: it is part of the name of a cache file
_CONTEXT = 1.5


def read_images(folder: Path, birds: Sequence[Bird], crop: bool, cache: Path | None) -> UInt8[Tensor, "n 3 64 64"]:
    """The images as bytes, in the order of ``birds``.

    Args:
        folder: ``CUB_200_2011``.
        birds: which images.
        crop: cut out the bird first, as :func:`mmvae.data.cub` says.
        cache: a folder to keep them in, since decoding takes some milliseconds an image. A file there that is
            damaged is made again.

    Raises:
        SourceNotFound: if an image is absent.
        ValueError: if one is damaged.
    """
    if cache is None:
        return _decode(folder, birds, crop)
    path = Path(cache) / f"cub-{_key(birds, crop)}.safetensors"
    kept = _read(path, len(birds))
    if kept is None:
        from safetensors.torch import save_file

        kept = images = _decode(folder, birds, crop)
        write_whole(path, lambda partial: save_file({"images": images}, partial))
    return kept


def _decode(folder: Path, birds: Sequence[Bird], crop: bool) -> UInt8[Tensor, "n 3 64 64"]:
    images = torch.empty(len(birds), 3, SIZE, SIZE, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:  # decoding and resizing run outside of Python's lock
        pictures = pool.map(lambda bird: _picture(folder / "images" / bird.path, bird, crop), birds)
        for row, pixels in enumerate(pictures):
            images[row] = torch.from_numpy(pixels).movedim(-1, 0)
    return images


def _picture(path: Path, bird: Bird, crop: bool) -> UInt8[np.ndarray, "64 64 3"]:
    from PIL import Image

    if not path.is_file():
        raise SourceNotFound(f"CUB: looked for {path.name} in {path.parent}, and did not find it.")
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")  # a few are grey
    except OSError as error:
        raise ValueError(f"CUB: {path} is damaged ({error}); fetch it again.") from error
    frame = _square(bird, picture.size) if crop else (0, 0, *picture.size)
    small = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=frame)
    return np.array(small)


def _square(bird: Bird, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a square around the middle of the bird's box, as far as it lies in the picture."""
    left, top, width, height = bird.box
    half = _CONTEXT * max(width, height) / 2
    across, down = left + width / 2, top + height / 2
    frame = max(0.0, across - half), max(0.0, down - half), min(size[0], across + half), min(size[1], down + half)
    if frame[2] - frame[0] < 1 or frame[3] - frame[1] < 1:
        raise ValueError(f"CUB: the box {bird.box} of {bird.path} lies outside of its image, {size[0]} x {size[1]}.")
    return frame


def _key(birds: Sequence[Bird], crop: bool) -> str:
    """Of all that the images depend on, but the files themselves, which are published once and for all."""
    images = [[bird.path, bird.box if crop else None] for bird in birds]
    return hashlib.sha256(json.dumps([_VERSION, SIZE, images]).encode()).hexdigest()[:24]


def _read(path: Path, count: int) -> UInt8[Tensor, "n 3 64 64"] | None:
    """What the file holds, or nothing if it is absent or unsound."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        images = load_file(path)["images"]
    except (OSError, SafetensorError, KeyError):
        return None
    return images if images.shape == (count, 3, SIZE, SIZE) and images.dtype == torch.uint8 else None
