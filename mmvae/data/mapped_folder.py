"""Data sets that do not fit in memory: arrays that stay in their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmvae.data.arrays import map_npy
from mmvae.data.dataset import MultimodalDataset
from mmvae.data.mapped_rows import MappedRows
from mmvae.sources import Blocks

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
