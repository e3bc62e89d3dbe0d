"""PolyMNIST and sets of its form: digits cut into photographs, modalities that share the digit and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mmvae.data.dataset import MultimodalDataset
from mmvae.data.digits.overlays import Ink, Overlay, Places, resized
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

_LEAST_CANVAS = 8
"""Pixels below which a digit is a few dots."""


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
    return _formed("PolyMNIST-form", mnist, backgrounds, seed, modalities, size)


def polymnist_translated(
    mnist: LabelledImages,
    backgrounds: Sequence[Tensor] | None = None,
    seed: int = 0,
    modalities: int = 5,
    size: int | None = None,
    canvas: int = 28,
) -> MultimodalDataset:
    """Translated PolyMNIST: the digit, at three quarters of its size, stands somewhere else in each modality.

    The place is drawn for each image of each modality by itself, uniformly over all that there is room for, and is the
    private label of the modality: its third of the height and of the width, numbered row by row from 0 to 8.

    Args:
        mnist: Digits, ``[n, 1, H, W]`` bytes.
        backgrounds: One photograph for each modality, bytes ``[3, height, width]``; regions of scikit-learn's
            photographs by default.
        seed: Of the crops, of the places and of the pairing.
        modalities: How many; there must be as many backgrounds.
        size: At most so many data points.
        canvas: Height and width of an image.

    Returns:
        ``"m0"``, ``"m1"``, ..., each ``[3, canvas, canvas]``, with the digit as label and ``private_labels``.

    Raises:
        ValueError: For too few backgrounds, backgrounds too small to be cropped, or a canvas of less than 8 pixels.
        TypeError: For values that are no bytes.

    Source: Daunhawer et al. 2022, "On the limitations of multimodal VAEs". One published generator never reaches the
    last place, and another places most digits outside of the image; here all 8 x 8 places occur.
    """
    _check_canvas(canvas)
    digit = canvas * 3 // 4
    places = canvas - digit + 1

    def placed(corner: Tensor) -> Tensor:
        row, column = corner * 3 // places
        return row * 3 + column

    return _formed(
        "Translated PolyMNIST-form",
        mnist,
        backgrounds,
        seed,
        modalities,
        size,
        places=Places(digit, canvas, torch.arange(places)),
        private=placed,
    )


def polymnist_quadrant(
    mnist: LabelledImages,
    backgrounds: Sequence[Tensor] | None = None,
    seed: int = 0,
    modalities: int = 5,
    size: int | None = None,
    canvas: int = 64,
) -> MultimodalDataset:
    """PolyMNIST-Quadrant: the digit stands in one of the four quadrants, in each modality in another one.

    The digit is what modalities share, the quadrant what each has for itself: 0 is top right, 1 top left, 2 bottom
    left and 3 bottom right. The first modality writes in red, the fifth in blue, those between invert the photograph.

    Args:
        mnist: Digits, ``[n, 1, H, W]`` bytes.
        backgrounds: One photograph for each modality, bytes ``[3, height, width]``; regions of scikit-learn's
            photographs by default.
        seed: Of the crops, of the quadrants and of the pairing.
        modalities: How many; there must be as many backgrounds.
        size: At most so many data points.
        canvas: Height and width of an image, 64 in the paper; a digit takes half of each.

    Returns:
        ``"m0"``, ``"m1"``, ..., each ``[3, canvas, canvas]``, with the digit as label and ``private_labels``.

    Raises:
        ValueError: For too few backgrounds, backgrounds too small to be cropped, or a canvas of less than 8 pixels.
        TypeError: For values that are no bytes.

    Source: Zhang, Shen and Wang 2026 (IDMVAE). The paper pairs every training image four times; here it occurs once in
    each modality.
    """
    _check_canvas(canvas)
    digit = canvas // 2

    def quadrant(corner: Tensor) -> Tensor:
        below, right = corner > 0
        return torch.where(below, torch.where(right, 3, 2), torch.where(right, 0, 1))

    return _formed(
        "PolyMNIST-Quadrant-form",
        mnist,
        backgrounds,
        seed,
        modalities,
        size,
        places=Places(digit, canvas, torch.tensor([0, canvas - digit])),
        private=quadrant,
        inks={"m0": "red", "m4": "blue"},
        threshold=16,
    )


def _check_canvas(canvas: int) -> None:
    if canvas < _LEAST_CANVAS:
        raise ValueError(f"canvas: expected at least {_LEAST_CANVAS} pixels, got {canvas}.")


def _formed(
    form: str,
    mnist: LabelledImages,
    backgrounds: Sequence[Tensor] | None,
    seed: int,
    modalities: int,
    size: int | None,
    *,
    places: Places | None = None,
    private: Callable[[Tensor], Tensor] | None = None,
    inks: Mapping[str, Ink] | None = None,
    threshold: int = 128,
) -> MultimodalDataset:
    """A dataset of one form.

    Args:
        form: How tables call it.
        mnist: Digits.
        backgrounds: Photographs.
        seed: Of everything that is drawn.
        modalities: How many.
        size: At most so many data points.
        places: Where digits may stand; by default they fill the image.
        private: From the corners of digits, ``[2, n]``, to private labels ``[n]``.
        inks: By modality; by default all invert.
        threshold: Brightness above which a pixel is inside the digit.
    """
    origin = "sklearn photographs" if backgrounds is None else "photographs of the user"
    pictures = photographs() if backgrounds is None else list(backgrounds)
    if not 1 <= modalities <= len(pictures):
        raise ValueError(f"{form}: {modalities} modalities need as many backgrounds, got {len(pictures)}.")
    names = [f"m{place}" for place in range(modalities)]
    index, labels = pair_by_label(dict.fromkeys(names, mnist.labels), 1, seed, limit_per_class=len(mnist))
    index = {name: table[slice(None, size)] for name, table in index.items()}
    digits = mnist.images if places is None else resized(mnist.images, places.digit)
    overlays = {
        name: Overlay(
            digits,
            picture,
            derive_seed(seed, "overlay", name),
            places=places,
            ink=(inks or {}).get(name, "inverted"),
            threshold=threshold,
        )
        for name, picture in zip(names, pictures, strict=False)
    }
    source = "" if mnist.name == "MNIST" else f"{mnist.name}, "
    return MultimodalDataset(
        overlays,
        index,
        labels[slice(None, size)],
        name=f"{form} ({source}{origin})",
        sources_used=dict.fromkeys(names, f"{mnist.name} on {origin}"),
        seed=seed,
        private_labels=None
        if private is None
        else {name: private(overlay.place[:, index[name]]) for name, overlay in overlays.items()},
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
