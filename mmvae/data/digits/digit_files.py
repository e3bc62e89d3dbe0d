"""Readers of digit images from the files of their original releases."""

from __future__ import annotations

import contextlib
import gzip
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmvae.data.images import DATA_VARIABLE, LabelledImages, SourceNotFound
from mmvae.data.reading import read_npz
from mmvae.files import reading

SVHN_SAMPLE_NAME = "SVHN (first 1,083 training digits)"


def mnist(root: Path | str | None, train: bool, download: bool = False) -> LabelledImages:
    """MNIST ``[N, 1, 28, 28]``, from the idx files ``<root>/MNIST/raw/``, packed (.gz) or unpacked.

    Args:
        root: the folder of data sets; ``None`` if there is none.
        train: the 60,000 training images, or the 10,000 test images.
        download: lets torchvision fetch the files if they are absent.

    Raises:
        SourceNotFound: if a file is absent, and could not be fetched.
        ValueError: if a file is damaged, or there is no folder to fetch it to.
    """
    _require_folder("MNIST", root, download)
    part = "train" if train else "t10k"
    stems = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    folder = None if root is None else Path(root) / "MNIST" / "raw"
    if download and folder is not None and not all(_packed_or_not(folder / stem) for stem in stems):
        from torchvision.datasets import MNIST

        with _fetching("MNIST", folder, [f"{stem}[.gz]" for stem in stems]):
            MNIST(str(root), train=train, download=True)
    paths = [None if folder is None else _packed_or_not(folder / stem) for stem in stems]
    if paths[0] is None or paths[1] is None:
        raise _not_found("MNIST", folder, [f"{stem}[.gz]" for stem in stems])
    images, labels = _read_idx(paths[0], 3), _read_idx(paths[1], 1)
    if len(images) != len(labels):
        raise ValueError(f"MNIST: {paths[0]} has {len(images)} images, but {paths[1]} has {len(labels)} labels.")
    return LabelledImages(images[:, None], labels.long(), "MNIST")


def svhn(root: Path | str | None, train: bool, download: bool = False) -> LabelledImages:
    """SVHN, cropped digits ``[N, 3, 32, 32]``, from ``<root>/SVHN/{train,test}_32x32.mat``; the label 10 becomes 0.

    torchvision reads the file, and checks that it is the original one, byte for byte.

    Args:
        root: the folder of data sets; ``None`` if there is none.
        train: the 73,257 training digits, or the 26,032 test digits.
        download: lets torchvision fetch the file if it is absent.

    Raises:
        SourceNotFound: if the file is absent, and could not be fetched.
        ValueError: if it is damaged, or there is no folder to fetch it to.
    """
    _require_folder("SVHN", root, download)
    part = "train" if train else "test"
    file = f"{part}_32x32.mat"
    folder = None if root is None else Path(root) / "SVHN"
    if folder is None or not (download or (folder / file).exists()):
        raise _not_found("SVHN", folder, [file])
    from torchvision.datasets import SVHN

    if download:
        with _fetching("SVHN", folder, [file]):
            data = SVHN(str(folder), split=part, download=True)
    else:
        try:
            data = SVHN(str(folder), split=part, download=False)
        except RuntimeError as error:
            raise ValueError(
                f"SVHN: {folder / file} is not the original file (its md5 differs); fetch it again."
            ) from error
    return LabelledImages(torch.from_numpy(np.ascontiguousarray(data.data)), torch.from_numpy(data.labels), "SVHN")


def svhn_sample(root: Path | str | None, train: bool, test_fraction: float = 0.2, seed: int = 0) -> LabelledImages:
    """The first 1,083 training digits of SVHN ``[n, 3, 32, 32]``, from ``<root>/SVHN/svhn_train_first1083.npz``.

    Real SVHN, but too small a part of it to be reported as SVHN: tables carry the longer name. It has no test set of
    its own, so it is cut at random, by house and not by image, since digits of one house number overlap.

    Args:
        root: the folder of data sets; ``None`` if there is none.
        train: the houses that are left for training, or those for testing.
        test_fraction: share of the houses that are for testing.
        seed: of the cut; parts belong together only under one seed.

    Raises:
        SourceNotFound: if the file is absent.
        ValueError: if it is damaged.
    """
    arrays = _read_npz("SVHN sample", root, "SVHN", "svhn_train_first1083.npz", ("X", "label", "house"))
    images = torch.from_numpy(arrays["X"]).movedim(-1, 1).contiguous()
    labels, houses = (torch.from_numpy(arrays[key].astype(np.int64)) for key in ("label", "house"))
    everything = LabelledImages(images, labels % 10, SVHN_SAMPLE_NAME, groups=houses)
    return everything.share(0, 1 - test_fraction, seed) if train else everything.share(1 - test_fraction, 1, seed)


def usps(root: Path | str | None, train: bool) -> LabelledImages:
    """USPS digits ``[N, 1, 16, 16]`` as float32 in [0, 1], from ``<root>/USPS/usps.npz``.

    The grey levels lie on a grid of 1/2000, which bytes cannot hold, so they stay floating-point numbers.

    Args:
        root: the folder of data sets; ``None`` if there is none.
        train: the 7,291 training images, or the 2,007 test images.

    Raises:
        SourceNotFound: if the file is absent.
        ValueError: if it is damaged.
    """
    part = "train" if train else "test"
    arrays = _read_npz("USPS", root, "USPS", "usps.npz", (f"{part}_image", f"{part}_digit"))
    images = torch.from_numpy(arrays[f"{part}_image"].astype(np.float32))[:, None]
    return LabelledImages(images, torch.from_numpy(arrays[f"{part}_digit"].astype(np.int64)), "USPS")


def _require_folder(what: str, root: Path | str | None, download: bool) -> None:
    if download and root is None:
        raise ValueError(f"{what}: download needs a folder to write to; pass root= (--data), or set {DATA_VARIABLE}.")


@contextlib.contextmanager
def _fetching(what: str, folder: Path, files: Sequence[str]) -> Iterator[None]:
    """While torchvision fetches files: those that it cannot fetch count as not found."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # no network, no right to write, or not the files that were expected
        reason = str(error).strip() or type(error).__name__
        raise SourceNotFound(
            f"{what}: looked for {' and '.join(files)} in {folder}, and could not fetch them "
            f"({reason.splitlines()[-1].strip()})."  # torchvision names what it tried first, and the cause last
        ) from error


def _packed_or_not(path: Path) -> Path | None:
    """The file, or the packed one beside it, or neither."""
    packed = path.with_name(f"{path.name}.gz")
    return path if path.exists() else packed if packed.exists() else None


def _not_found(what: str, folder: Path | None, files: Sequence[str]) -> SourceNotFound:
    names = " and ".join(files)
    if folder is None:
        return SourceNotFound(f"{what}: looked for {names}, but no folder of data sets is given ({DATA_VARIABLE}).")
    return SourceNotFound(f"{what}: looked for {names} in {folder}, and did not find them all.")


def _read_idx(path: Path, num_dims: int) -> Tensor:
    """The unsigned bytes of an idx file: two zeros, type 8, the number of dimensions, their sizes, the values."""
    with reading(path, "MNIST", "Fetch it again."):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:4] != bytes((0, 0, 8, num_dims)):
        raise ValueError(f"MNIST: {path} is no idx file of bytes in {num_dims} dimensions; fetch it again.")
    header = 4 + 4 * num_dims
    sizes = [int.from_bytes(content[place : place + 4], "big") for place in range(4, header, 4)]
    if len(content) != header + math.prod(sizes):
        raise ValueError(f"MNIST: {path} should hold {sizes} bytes, but its length does not fit; fetch it again.")
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8).reshape(sizes)


def _read_npz(what: str, root: Path | str | None, folder: str, file: str, keys: Sequence[str]) -> dict[str, np.ndarray]:
    path = None if root is None else Path(root) / folder / file
    if path is None or not path.exists():
        raise _not_found(what, None if path is None else path.parent, [file])
    arrays = read_npz(what, path)
    absent = [key for key in keys if key not in arrays]
    if absent:
        raise ValueError(f"{what}: {path} lacks {', '.join(absent)}; fetch it again.")
    return {key: arrays[key] for key in keys}
