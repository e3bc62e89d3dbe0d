"""PolyMNIST: digits cut into photographs, five modalities that share the digit and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from mmvae.casting import as_models_read
from mmvae.data.dataset import MultimodalDataset
from mmvae.data.images import DATA_VARIABLE, LabelledImages, SourceNotFound
from mmvae.data.pairing import pair_by_label
from mmvae.files import reading
from mmvae.seeds import derive_seed, stream

# Top, bottom, left, right of five regions that differ in colour and texture, in scikit-learn's two photographs.
_REGIONS = (
    ("china.jpg", 0, 280, 340, 560),  # sky and lake
    ("china.jpg", 100, 380, 90, 340),  # pagoda
    ("china.jpg", 300, 427, 350, 640),  # trees
    ("flower.jpg", 100, 350, 180, 430),  # petals
    ("flower.jpg", 0, 427, 0, 165),  # dark leaves
)


class Overlay:
    """Rows that are digits cut into crops of one photograph: inside the digit the colours are inverted.

    Of every row only the place of its crop is kept; the image is put together when it is read.

    Args:
        digits: ``[n, 1, H, W]`` bytes; above 128 is inside the digit.
        background: ``[3, height, width]`` bytes, larger than a digit in both directions.
        seed: of the places of the crops, which are uniform; as in the original, the last row and column of
            the photograph are never reached.

    Raises:
        ValueError: for a background that is no larger than a digit, or is no colour image.
        TypeError: for values that are no bytes.

    Source: Sutter et al. 2021 (MoPoE), the recipe of PolyMNIST.
    """

    def __init__(self, digits: Tensor, background: Tensor, seed: int) -> None:
        if digits.dtype != torch.uint8 or background.dtype != torch.uint8:
            raise TypeError(f"overlay: digits and background are bytes, got {digits.dtype} and {background.dtype}.")
        if background.ndim != 3 or len(background) != 3:
            raise ValueError(f"overlay: expected a background [3, height, width], got {tuple(background.shape)}.")
        room = [background.shape[1] - digits.shape[2], background.shape[2] - digits.shape[3]]
        if min(room) < 1:
            raise ValueError(
                f"overlay: a background of {tuple(background.shape[1:])} pixels has no room for crops of "
                f"{tuple(digits.shape[2:])}; take a larger image."
            )
        generator = stream(seed, "crops")
        self._digits = digits  # not a copy: five modalities share them
        self._background = background
        self._corner = torch.stack([torch.randint(size, (len(digits),), generator=generator) for size in room])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return (3, *self._digits.shape[2:])

    def __len__(self) -> int:
        return len(self._digits)

    def take(self, rows: Int64[Tensor, "B"]) -> Float[Tensor, "B 3 H W"]:
        """The images of these rows, in [0, 1]."""
        _, height, width = self.shape
        windows = self._background.unfold(1, height, 1).unfold(2, width, 1)  # [3, tops, lefts, H, W], a view
        top, left = self._corner.index_select(1, rows)
        crop = windows.movedim(0, 2)[top, left]  # [B, 3, H, W]
        flip = (self._digits.index_select(0, rows) > 128).to(torch.uint8) * 255
        return as_models_read(crop ^ flip)  # of a byte, x ^ 255 = 255 - x

    def to(self, device: torch.device) -> Overlay:
        """The same rows on another device."""
        moved = Overlay.__new__(Overlay)
        moved._digits = self._digits.to(device)
        moved._background = self._background.to(device)
        moved._corner = self._corner.to(device)
        return moved


def photographs() -> list[UInt8[Tensor, "3 h w"]]:
    """Five backgrounds of different colour and texture, cut out of the two photographs that scikit-learn ships."""
    from sklearn.datasets import load_sample_image

    regions = [load_sample_image(file)[top:bottom, left:right] for file, top, bottom, left, right in _REGIONS]
    return [torch.from_numpy(np.ascontiguousarray(region)).movedim(-1, 0).contiguous() for region in regions]


def polymnist_form(
    mnist: LabelledImages,
    backgrounds: Sequence[Tensor] | None = None,
    seed: int = 0,
    modalities: int = 5,
    size: int | None = None,
) -> MultimodalDataset:
    """A dataset made by the recipe of PolyMNIST from other photographs; tables never call it PolyMNIST.

    The modalities ``"m0"``, ``"m1"``, ... show different images of the same digit, each cut into crops of a
    photograph of its own. As in the original, every image occurs once in each modality.

    Args:
        mnist: digits, ``[n, 1, 28, 28]`` bytes; training and test sets are made from those of MNIST.
        backgrounds: one photograph for each modality, bytes ``[3, height, width]``; regions of scikit-learn's
            photographs by default.
        seed: of the crops and of the pairing.
        modalities: how many; there must be as many backgrounds.
        size: at most so many data points.

    Raises:
        ValueError: for too few backgrounds, or backgrounds too small to be cropped.
        TypeError: for values that are no bytes.
    """
    origin = "sklearn photographs" if backgrounds is None else "photographs of the user"
    pictures = photographs() if backgrounds is None else list(backgrounds)
    if not 1 <= modalities <= len(pictures):
        raise ValueError(f"PolyMNIST-form: {modalities} modalities need as many backgrounds, got {len(pictures)}.")
    names = [f"m{place}" for place in range(modalities)]
    index, labels = pair_by_label(dict.fromkeys(names, mnist.labels), 1, seed, limit_per_class=len(mnist))
    digits = "" if mnist.name == "MNIST" else f"{mnist.name}, "
    return MultimodalDataset(
        {
            name: Overlay(mnist.images, picture, derive_seed(seed, "overlay", name))
            for name, picture in zip(names, pictures, strict=False)
        },
        {name: table[slice(None, size)] for name, table in index.items()},
        labels[slice(None, size)],
        name=f"PolyMNIST-form ({digits}{origin})",
        sources_used=dict.fromkeys(names, f"{mnist.name} on {origin}"),
        seed=seed,
    )


def polymnist(root: Path | str | None, train: bool, size: int | None = None) -> MultimodalDataset:
    """The original PolyMNIST, from the folders ``<root>/MMNIST/{train,test}/m{0..4}/<index>.<digit>.png``.

    Images of the same index and digit belong together.

    Args:
        root: the folder of data sets; ``None`` if there is none.
        train: the 60,000 training data points, or the 10,000 test data points.
        size: at most so many data points, drawn at random but always the same; the others are not read.

    Raises:
        SourceNotFound: if a folder is absent or holds no images.
        ValueError: if a modality lacks an image that another has, or an image is not 3 x 28 x 28.
    """
    folder = None if root is None else Path(root) / "MMNIST" / ("train" if train else "test")
    names = [f"m{place}" for place in range(5)]
    files = {name: {} if folder is None else _by_index_and_digit(folder / name) for name in names}
    if folder is None or not all(files.values()):
        where = f"in {folder}" if folder else f"but no folder of data sets is given ({DATA_VARIABLE})"
        raise SourceNotFound(f"PolyMNIST: looked for m0 to m4, folders of images <index>.<digit>.png, {where}.")
    keys = sorted(files["m0"])
    for name in names:
        if files[name].keys() != files["m0"].keys():
            odd = sorted(files[name].keys() ^ files["m0"].keys())[0]
            raise ValueError(
                f"PolyMNIST: {folder / name} and {folder / 'm0'} do not hold the same images; the first that only one "
                f"of them has is {odd[1]}.{odd[0]}.png."
            )
    order = torch.randperm(len(keys), generator=stream(0, "polymnist"))[slice(None, size)].tolist()
    chosen = [keys[place] for place in order]
    return MultimodalDataset(
        {name: _read_images([files[name][key] for key in chosen]) for name in names},
        labels=torch.tensor([digit for digit, _ in chosen]),
        name="PolyMNIST",
    )


def _by_index_and_digit(folder: Path) -> dict[tuple[int, int], Path]:
    """The files of a folder, by (digit, index)."""
    files: dict[tuple[int, int], Path] = {}
    for path in folder.glob("*.png"):
        index, _, digit = path.stem.partition(".")
        if index.isdecimal() and digit.isdecimal():
            files[int(digit), int(index)] = path
    return files


def _read_images(paths: Sequence[Path]) -> UInt8[Tensor, "N 3 28 28"]:
    from PIL import Image

    images = torch.empty(len(paths), 3, 28, 28, dtype=torch.uint8)
    for row, path in enumerate(paths):
        with reading(path, "PolyMNIST", "Fetch it again."), Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"))
        if pixels.shape != (28, 28, 3):
            raise ValueError(f"PolyMNIST: {path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, expected 28 x 28.")
        images[row] = torch.from_numpy(pixels.copy()).movedim(-1, 0)
    return images
