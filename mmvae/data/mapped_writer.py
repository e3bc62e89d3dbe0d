"""Writing a folder of arrays piece by piece, for data that is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.data.dataset import MultimodalDataset
from mmvae.data.mapped_folder import LABELS, OBSERVED, mapped
from mmvae.files import write_folder_whole
from mmvae.modality import check_name
from mmvae.sources import as_batch


def write_mapped(folder: str | Path, batches: Iterable[Any]) -> MultimodalDataset:
    """Writes batches that come one after another as a folder for :func:`mapped`, and opens it.

    How many there will be need not be known. The folder appears when all of them are written, and not in part: a
    process that is stopped before leaves nothing under its name. Values are checked as they come.

    Args:
        folder: which is not there yet, or empty.
        batches: dicts ``{name: tensor or array [B, ...]}``, pairs of such a dict and labels ``[B, ...]``, or
            :class:`~mmvae.Batch` objects, all with the same modalities, shapes and types; B may differ. Bytes are
            written as bytes. What is missing is NaN throughout the row, or masked in a batch.

    Raises:
        FileExistsError: if there is a folder that is not empty.
        ValueError: if there is no batch, or one does not fit those before it, has a row without any modality, one that
            is NaN in part or infinite, or masks of steps, which these files do not hold.
        TypeError: for something that is no batch, or numbers of a kind that numpy does not know.
    """
    folder = Path(folder)
    write_folder_whole(folder, lambda temporary: _write(temporary, batches))
    return mapped(folder)


def _write(folder: Path, batches: Iterable[Any]) -> None:
    arrays: dict[str, _Growing] = {}
    masks: list[dict[str, Tensor]] = []
    try:
        for number, value in enumerate(batches):
            batch = as_batch(value)
            parts = _parts(number, batch)
            if not arrays:
                arrays = {name: _Growing(name, folder / f"{name}.npy", part) for name, part in parts.items()}
            elif parts.keys() != arrays.keys():
                raise ValueError(
                    f"batch {number}: expected {', '.join(map(repr, arrays))} as in those before it, got "
                    f"{', '.join(map(repr, parts))}; mask what is missing, or make its rows NaN."
                )
            for name, part in parts.items():
                arrays[name].add(number, part)
            masks.append(batch.observed)
        if not arrays:
            raise ValueError("data: there is no batch to write.")
    finally:
        for array in arrays.values():
            array.close()
    for name in masks[0]:
        mask = torch.cat([each[name] for each in masks])
        if not bool(mask.all()):
            np.save(folder / f"{name}{OBSERVED}.npy", mask.numpy(), allow_pickle=False)


def _parts(number: int, batch: Batch) -> dict[str, Tensor]:
    """What is written of a batch, by the names of the files."""
    if batch.steps:
        raise ValueError(
            f"batch {number}: {next(iter(batch.steps))!r} has a mask of its steps, which these files do not keep; pad "
            f"with values that the model knows as padding."
        )
    empty = ~torch.stack(list(batch.observed.values())).any(0)
    if bool(empty.any()):
        raise ValueError(f"batch {number}: row {int(empty.nonzero()[0])} has no modality at all; leave it out.")
    for name in batch.data:
        check_name(name)
        if name == LABELS:
            raise ValueError(f"modality name: {LABELS!r} is the name of the file of labels; choose another.")
    return batch.data if batch.labels is None else {**batch.data, LABELS: batch.labels}


class _Growing:
    """An ``.npy`` file to which rows are added, whose header says at the end how many there are.

    Args:
        name: of the modality.
        path: of the file.
        first: rows of its shape and type; they are not written yet.
    """

    def __init__(self, name: str, path: Path, first: Tensor) -> None:
        self._name = name
        self._dtype, self._shape = _array(name, first).dtype, tuple(first.shape[1:])
        self._rows = 0
        self._file = path.open("wb")
        self._begin = self._write_header()

    def add(self, number: int, values: Tensor) -> None:
        """Writes the rows of batch ``number``."""
        array = _array(self._name, values)
        if array.dtype != self._dtype or array.shape[1:] != self._shape:
            raise ValueError(
                f"{self._name}: batch {number}: expected {self._dtype} of shape {('B', *self._shape)} as in those "
                f"before it, got {array.dtype} of shape {array.shape}."
            )
        self._file.write(array.data)
        self._rows += len(array)

    def close(self) -> None:
        """Completes the header and closes the file."""
        with self._file:
            assert self._write_header() == self._begin  # numpy leaves room for any number of rows

    def _write_header(self) -> int:
        self._file.seek(0)
        description: Mapping[str, Any] = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._file, dict(description))
        return self._file.tell()


def _array(name: str, values: Tensor) -> np.ndarray:
    try:
        return np.ascontiguousarray(values.detach().cpu().numpy())
    except TypeError as error:
        raise TypeError(f"{name}: numpy has no {values.dtype}; convert the values, to float16 perhaps.") from error
