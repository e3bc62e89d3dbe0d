"""Writers of small data sets in the layouts of the original files."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io


def idx(values: np.ndarray) -> bytes:
    """The content of an idx file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes((0, 0, 8, values.ndim)) + sizes + values.astype(np.uint8).tobytes()


@pytest.fixture(name="idx")
def _idx() -> Callable[[np.ndarray], bytes]:
    return idx


@pytest.fixture
def write_mnist() -> Callable[..., Path]:
    """Writes the files of a part of MNIST, and returns their folder."""

    def write(root: Path, images: np.ndarray, labels: np.ndarray, *, train: bool = True, packed: bool = True) -> Path:
        folder = root / "MNIST" / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        part = "train" if train else "t10k"
        for stem, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            if packed:
                (folder / f"{stem}.gz").write_bytes(gzip.compress(idx(values)))
            else:
                (folder / stem).write_bytes(idx(values))
        return folder

    return write


@pytest.fixture
def write_svhn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a .mat file of the original layout (H x W x 3 x N, 10 for zero); its md5 passes for the original's."""
    from torchvision.datasets import SVHN

    def write(root: Path, images: np.ndarray, labels: np.ndarray) -> Path:
        path = root / "SVHN" / "train_32x32.mat"
        path.parent.mkdir(parents=True)
        scipy.io.savemat(path, {"X": np.transpose(images, (1, 2, 3, 0)), "y": labels[:, None]})
        url, name, _ = SVHN.split_list["train"]
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(SVHN.split_list, "train", [url, name, md5])
        return path

    return write


@pytest.fixture
def write_npz() -> Callable[..., None]:
    """Writes arrays to an .npz file in a new folder."""

    def write(path: Path, **arrays: np.ndarray) -> None:
        path.parent.mkdir(parents=True)
        np.savez(path, **arrays)

    return write
