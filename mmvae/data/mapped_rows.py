"""Rows that stay in a file: a memory map, of which a batch reads what it needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from mmvae.casting import as_models_read, as_tensor
from mmvae.data.reading import map_npy


class MappedRows:
    """Rows of a memory map: read when they are taken, bytes of images as float32 in [0, 1], all else as it is.

    Values are looked at when they are read: a floating-point row that is NaN throughout counts as missing, one that is
    NaN in part, or infinite, is an error of the batch that holds it.

    Args:
        name: of the modality, for errors.
        array: path of an ``.npy`` file, ``[n, ...]``, or a map that was made elsewhere. Given by its path it can also
            be handed to the worker processes of a loader, which open it themselves.

    Attributes:
        row_bytes: that one datum takes in the file.
        is_floating: whether a value may be NaN or infinite.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, holds objects, a single number or nothing, or is in Fortran order.
        TypeError: for something that is neither, or numbers of a kind that PyTorch does not know.
    """

    def __init__(self, name: str, array: str | Path | np.memmap) -> None:
        self.name = name
        self._path: Path | None = None
        self._device = torch.device("cpu")
        if isinstance(array, np.memmap):
            self._values: np.ndarray = array
        elif isinstance(array, str | os.PathLike):
            self._path = Path(array).absolute()
            self._values = map_npy(name, self._path)
        else:
            raise TypeError(f"{name}: expected the path of an .npy file or a np.memmap, got {type(array).__name__}.")
        _check(name, self._values)
        self.row_bytes: int = self._values.nbytes // len(self._values)
        self.is_floating: bool = self._values.dtype.kind == "f"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return tuple(self._values.shape[1:])

    def __len__(self) -> int:
        return len(self._values)

    def take(self, rows: Int64[Tensor, "B"]) -> Shaped[Tensor, "B ..."]:
        """The data of these rows, a copy in memory.

        Raises:
            IndexError: for a row outside 0..n-1.
        """
        if len(rows) and int(rows.min()) < 0:  # which numpy would count from the end
            raise IndexError(f"{self.name}: row {int(rows.min())} is outside 0..{len(self) - 1}.")
        values = self._values[rows.cpu().numpy()]
        return as_models_read(as_tensor(self.name, np.asarray(values))[0].to(self._device))

    def to(self, device: torch.device) -> MappedRows:
        """The same file, its rows handed out on another device."""
        moved = MappedRows(self.name, self._values if self._path is None else self._path)  # type: ignore[arg-type]
        moved._device = device
        return moved

    def __getstate__(self) -> dict[str, Any]:
        """For another process: where the file is, and nothing that it holds."""
        if self._path is None:
            raise TypeError(
                f"{self.name}: a np.memmap cannot be sent to another process without all that it holds; give the path "
                f"of its .npy file instead."
            )
        return {**self.__dict__, "_values": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        assert self._path is not None
        self._values = map_npy(self.name, self._path)


def _check(name: str, values: np.ndarray) -> None:
    if values.ndim == 0 or values.size == 0:
        raise ValueError(f"{name}: expected rows of data, got an array of shape {values.shape}.")
    if values.ndim > 1 and values.flags.f_contiguous and not values.flags.c_contiguous:
        raise ValueError(
            f"{name}: the array is in Fortran order, so that each row is scattered over the whole file; write it "
            f"again in C order, as mmvae.data.write_mapped does."
        )
    try:
        torch.from_numpy(np.empty(0, values.dtype.newbyteorder("=")))
    except TypeError as error:
        raise TypeError(f"{name}: expected numbers that PyTorch knows, got {values.dtype}.") from error
