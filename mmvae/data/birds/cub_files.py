"""The files of CUB-200-2011 as published: lists of images, and their captions in either of two forms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mmvae.data.images import DATA_VARIABLE, SourceNotFound
from mmvae.files import reading
from mmvae.storage import read_tensors, write_tensors

CAPTIONS_PER_IMAGE = 10

# fmt: off
TEST_SPECIES = frozenset((
    1, 4, 6, 8, 9, 14, 23, 29, 31, 33, 34, 35, 36, 37, 38, 43, 49, 51, 53, 66, 72, 79, 83, 84, 86, 91, 95, 96, 98, 101,
    102, 103, 112, 114, 119, 121, 130, 135, 138, 147, 156, 163, 165, 166, 180, 183, 185, 186, 187, 197,
))
# fmt: on
"""Numbers of the 50 classes that are kept for testing where the split is by class: 2,933 of the 11,788 images.

Source: Akata et al. 2015, as used by Reed et al. 2016 for the captions, and by Shi et al. 2019 (MMVAE).
"""

_LISTS = {"images.txt": 1, "image_class_labels.txt": 1, "train_test_split.txt": 1, "bounding_boxes.txt": 4}
_FOLDERS_OF_CAPTIONS = ("cvpr2016_cub/text_c10", "text_c10")


class Bird(NamedTuple):
    """An image of CUB-200-2011.

    Attributes:
        path: below ``images/``: ``<class>/<name>.jpg``.
        species: the number of its class as published, 1 to 200.
        trains: whether the official split has it in the training set.
        box: around the bird: left, top, width and height, in pixels.
    """

    path: str
    species: int
    trains: bool
    box: tuple[float, float, float, float]


def read_birds(root: Path | None) -> tuple[Path, list[Bird]]:
    """The folder ``CUB_200_2011`` and its images, in the order of their folders and names.

    Raises:
        SourceNotFound: if a list is absent.
        ValueError: if a list is damaged, or two of them do not list the same images.
    """
    folder = _find(root, ["CUB_200_2011"])
    absent = [name for name in _LISTS if not (folder / name).is_file()]
    if absent:
        raise SourceNotFound(f"CUB: looked for {' and '.join(absent)} in {folder}, and did not find them all.")
    paths, species, trains, boxes = (_read_list(folder / name, width) for name, width in _LISTS.items())
    for name, values in zip(_LISTS, (paths, species, trains, boxes), strict=True):
        if values.keys() != paths.keys():
            raise ValueError(f"CUB: {folder / name} and images.txt do not list the same images; fetch them again.")
    try:
        birds = [
            Bird(paths[key][0], int(species[key][0]), bool(int(trains[key][0])), _box(boxes[key])) for key in paths
        ]
    except ValueError as error:
        raise ValueError(f"CUB: the lists in {folder} are damaged ({error}); fetch them again.") from error
    return folder, sorted(birds, key=lambda bird: bird.path.split("/"))


def read_captions(root: Path | None, birds: Sequence[Bird], chosen: Sequence[Bird]) -> list[tuple[str, ...]]:
    """The ten captions of each chosen image.

    Args:
        root: the folder of data sets; ``None`` if there is none.
        birds: all images of the data set, in the order of :func:`read_birds`.
        chosen: some of them.

    Raises:
        SourceNotFound: if neither a folder of captions nor the caption file that is needed is there.
        ValueError: if a file is damaged, or has captions for another number of images.
    """
    captions: dict[str, tuple[str, ...]] = {}
    for train in sorted({bird.species not in TEST_SPECIES for bird in chosen}):
        members = [bird for bird in birds if (bird.species not in TEST_SPECIES) is train]
        place = _find(root, [*_FOLDERS_OF_CAPTIONS, _caption_file(train)])
        if place.is_file():
            listed = _read_caption_file(place)
            if len(listed) != len(members):
                raise ValueError(
                    f"CUB: {place} has captions for {len(listed)} images, but images.txt lists {len(members)} of these "
                    f"classes; fetch them again."
                )
            captions |= {bird.path: ten for bird, ten in zip(members, listed, strict=True)}
        else:
            wanted = {bird.path for bird in chosen}.intersection(bird.path for bird in members)
            captions |= {path: _read_ten((place / path).with_suffix(".txt")) for path in sorted(wanted)}
    return [captions[bird.path] for bird in chosen]


def cub_captions(root: Path | str | None, train: bool) -> list[tuple[str, ...]]:
    """Ten captions for each image of a part of the classes, as MMVAE ships them, without any images.

    The files ``text_trainvalclasses.txt`` and ``text_testclasses.txt`` hold a caption in each line, ten lines for each
    image, and the images in the order of their folders and names. They lie in the root or in ``CUB`` below it.

    Args:
        root: the folder of data sets; ``None`` if there is none.
        train: of the 8,855 images of 150 classes, or of the 2,933 images of 50 others.

    Raises:
        SourceNotFound: if the file is absent.
        ValueError: if it is damaged.
    """
    return _read_caption_file(_find(None if root is None else Path(root), [_caption_file(train)]))


def _find(root: Path | None, names: Sequence[str]) -> Path:
    """The first of these files or folders that lies in the root, or in ``CUB`` below it."""
    sought = " or ".join(names)
    if root is None:
        raise SourceNotFound(f"CUB: looked for {sought}, but no folder of data sets is given ({DATA_VARIABLE}).")
    for name in names:
        for folder in (root, root / "CUB"):
            if (folder / name).exists():
                return folder / name
    raise SourceNotFound(f"CUB: looked for {sought} in {root} and {root / 'CUB'}, and did not find it.")


def _read_list(path: Path, width: int) -> dict[str, list[str]]:
    """By the number of the image, the ``width`` words that stand behind it in its line."""
    values = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        key, *words = line.split() or [""]
        if len(words) != width or key in values:
            raise ValueError(f"CUB: line {number} of {path} is damaged; fetch it again.")
        values[key] = words
    return values


def _box(words: Sequence[str]) -> tuple[float, float, float, float]:
    left, top, width, height = map(float, words)
    return left, top, width, height


def _caption_file(train: bool) -> str:
    return f"text_{'trainval' if train else 'test'}classes.txt"


def _read_caption_file(path: Path) -> list[tuple[str, ...]]:
    lines = _lines(path)
    if not lines or len(lines) % CAPTIONS_PER_IMAGE or not all(lines):
        raise ValueError(
            f"CUB: {path} should have {CAPTIONS_PER_IMAGE} captions for each image, a line each, but has {len(lines)} "
            f"lines, {lines.count('')} of them empty; fetch it again."
        )
    return [tuple(lines[start : start + CAPTIONS_PER_IMAGE]) for start in range(0, len(lines), CAPTIONS_PER_IMAGE)]


def _read_ten(path: Path) -> tuple[str, ...]:
    """The captions of one image, the first ten if there are more; empty lines are passed over."""
    if not path.is_file():
        raise SourceNotFound(f"CUB: looked for {path.name} in {path.parent}, and did not find it.")
    lines = [line for line in _lines(path) if line]
    if len(lines) < CAPTIONS_PER_IMAGE:
        raise ValueError(f"CUB: {path} has {len(lines)} captions, expected {CAPTIONS_PER_IMAGE}; fetch it again.")
    return tuple(lines[:CAPTIONS_PER_IMAGE])


def _lines(path: Path) -> list[str]:
    """Without blanks at their ends; a few published captions hold bytes that are no UTF-8, which become a mark."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


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
        kept = _decode(folder, birds, crop)
        write_tensors(path, {"images": kept})
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
    with reading(path, "CUB", "Fetch it again."), Image.open(path) as file:
        picture = file.convert("RGB")  # a few are grey
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
    try:
        images = read_tensors(path)[0]["images"]
    except (OSError, ValueError, KeyError):
        return None
    return images if images.shape == (count, 3, SIZE, SIZE) and images.dtype == torch.uint8 else None
