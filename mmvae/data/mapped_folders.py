"""Data sets that do not fit in memory: arrays that stay in their files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.data.dataset import MultimodalDataset
from mmvae.data.mapped_rows import MappedRows
from mmvae.data.reading import map_npy
from mmvae.files import write_folder_whole
from mmvae.modality import check_name
from mmvae.sources import Blocks, as_batch
from mmvae.transforms import spread

LABELS = "labels"
"""Name of the file of labels, which no modality may have."""

OBSERVED = ".observed"
"""What stands behind the name of a modality in that of its mask."""

_BLOCK_BYTES = 2**20
_BLOCKS_TOGETHER = 256


def mapped(
    source: str | Path | Mapping[str, Any],
    *,
    labels: Any = None,
    observed: Mapping[str, Any] | None = None,
    blocks: Blocks | None = None,
) -> MultimodalDataset:
    """A dataset whose data stays on the disk: memory-mapped ``.npy`` files, of which each batch reads its rows.

    Labels and masks are read into memory, for they are small; nothing is ever unpickled. The files must not change
    while they are in use. :func:`write_mapped` makes such a folder.

    Args:
        source: a folder with ``<modality>.npy``, ``[N, ...]``, for each modality, and, if there are any,
            ``labels.npy``, ``[N, ...]``, and ``<modality>.observed.npy``, bool ``[N]``; or by modality
            the path of an ``.npy`` file, a ``np.memmap``, or what else :class:`MultimodalDataset` takes (what is small
            may lie in memory). Bytes are images in 0..255 and become float32 in [0, 1].
        labels: ``[N, ...]``, or the path of their file, instead of those of the folder.
        observed: by modality bool ``[N]``, or the path of the file, instead of those of the folder. Rows that are NaN
            throughout are missing too; they are found when they are read.
        blocks: how training shuffles; by default blocks of about one MiB, 256 of them mixed at a time, which is a full
            permutation for anything smaller than 255 MiB.

    Raises:
        FileNotFoundError: if the folder or a file is not there.
        ValueError: for a damaged file, an unknown name, or numbers of rows that do not fit. While it is read, for a row
            that is NaN in part or infinite.
        TypeError: for arrays of a kind that is not read.

    Example:
        >>> import tempfile, torch, mmvae
        >>> pieces = ({"a": torch.rand(10, 4), "b": torch.rand(10, 2)} for _ in range(3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = mmvae.data.write_mapped(f"{folder}/train", pieces)
        ...     data = mmvae.data.mapped(f"{folder}/train")
        ...     print(len(data), data.shapes, data.batch([29, 0]).data["a"].shape)
        30 {'a': (4,), 'b': (2,)} torch.Size([2, 4])
    """
    name = "data"
    if isinstance(source, str | os.PathLike):
        folder = Path(source)
        name = folder.name
        source, own_labels, own_observed = _files(folder)
        labels = own_labels if labels is None else labels
        observed = own_observed if observed is None else observed
    rows: dict[str, Any] = {modality: _rows(modality, value) for modality, value in source.items()}
    return MultimodalDataset(
        rows,
        labels=None if labels is None else _in_memory(LABELS, labels),
        observed={modality: _in_memory(modality + OBSERVED, mask) for modality, mask in (observed or {}).items()},
        name=name,
        blocks=blocks or _default_blocks(rows),
    )


def _files(folder: Path) -> tuple[dict[str, Path], Path | None, dict[str, Path]]:
    """The files of a folder: of the modalities, of the labels, and of the masks."""
    if not folder.is_dir():
        raise FileNotFoundError(f"data: {folder}: there is no such folder.")
    files = {path.stem: path for path in sorted(folder.glob("*.npy")) if not path.name.startswith(".")}
    labels = files.pop(LABELS, None)
    masks = {stem.removesuffix(OBSERVED): path for stem, path in files.items() if stem.endswith(OBSERVED)}
    modalities = {stem: path for stem, path in files.items() if not stem.endswith(OBSERVED)}
    if not modalities:
        raise FileNotFoundError(f"data: {folder} holds no <modality>.npy.")
    return modalities, labels, masks


def _rows(name: str, value: Any) -> Any:
    """Files and maps as rows; whatever else a dataset may take as it is."""
    if isinstance(value, str | os.PathLike | np.memmap):
        return MappedRows(name, value)  # type: ignore[arg-type]
    return value


def _in_memory(what: str, value: Any) -> Any:
    """What a file holds; anything else as it is."""
    return np.array(map_npy(what, Path(value))) if isinstance(value, str | os.PathLike) else value


def _default_blocks(rows: Mapping[str, Any]) -> Blocks | None:
    """Blocks of about a MiB; ``None`` where nothing lies on the disk."""
    size = sum(each.row_bytes for each in rows.values() if isinstance(each, MappedRows))
    return Blocks(max(1, _BLOCK_BYTES // size), _BLOCKS_TOGETHER) if size else None


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
    for name in batch.cells:
        if not batch.data[name].is_floating_point():
            raise ValueError(
                f"batch {number}: {name!r} has a mask of what there is of a row, which these files keep for real "
                f"numbers alone, as NaN; pad with codes that the model knows as padding."
            )
    empty = ~torch.stack(list(batch.observed.values())).any(0)
    if bool(empty.any()):
        raise ValueError(f"batch {number}: row {int(empty.nonzero()[0])} has no modality at all; leave it out.")
    for name in batch.data:
        check_name(name)  # which is no path, and not that of the labels
    folded = [name.casefold() for name in batch.data]
    if len(set(folded)) < len(folded):
        raise ValueError(
            f"batch {number}: {', '.join(map(repr, batch.data))} are one name on discs that do not tell capitals "
            f"apart; rename one of them."
        )
    data = dict(batch.data)
    for name, mask in batch.cells.items():
        data[name] = torch.where(spread(mask, data[name]), data[name], torch.nan)
    return data if batch.labels is None else {**data, LABELS: batch.labels}


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
