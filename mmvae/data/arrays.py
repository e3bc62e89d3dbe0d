"""Arrays from .npz and .npy files, never unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np


def read_npz(what: str, path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file.

    Args:
        what: the content, for errors.
        path: of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, no .npz file, or holds objects.
    """
    # numpy leaves a file that it opened itself open if the archive in it is damaged, so it is handed an open one
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, AttributeError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{what}: {path} is damaged, or no .npz file of plain arrays: {error}.") from error


def map_npy(what: str, path: Path) -> np.ndarray:
    """The array of the file, mapped: read where it is looked at, and never written to.

    Args:
        what: the content, for errors.
        path: of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, no .npy file, or holds objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{what}: {path}: there is no such file.")
    try:
        return np.lib.format.open_memmap(path, mode="r")  # refuses objects, which are pickles
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{what}: {path} is damaged, or no .npy file of a plain array: {error}.") from error
