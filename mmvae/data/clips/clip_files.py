"""What readers of features of clips share: which files are there, and how arrays are read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.choices import check_choice
from mmvae.data.clips.clip_features import side_by_side
from mmvae.data.images import SourceNotFound
from mmvae.data.reading import read_array, read_records, require_files
from mmvae.files import reading

STEPS = 10
"""Seconds of a clip, one step each, in all of these data sets."""

Space = Literal["mean", "sum", "flat"]
"""What becomes of maps ``[T, height, width, channels]``: the mean or the sum over the places, or all places side by
side in one vector."""

_CHUNK = 64  # clips whose maps are in memory at a time


def checked_space(space: str) -> None:
    """Raises a ``ValueError`` unless it is one of the three."""
    check_choice("space", space, get_args(Space))


def over_space(values: Float[np.ndarray, "*N T height width channels"], space: Space) -> Float[Tensor, "*N T features"]:
    """Maps as one vector a step, float32."""
    maps = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    if space == "flat":
        return maps.flatten(-3)
    return maps.mean((-3, -2)) if space == "mean" else maps.sum((-3, -2))


def complete_clips(what: str, folders: Mapping[str, Path], clips: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """The places of the clips that have a file ``<clip>.npy`` in every folder, and a note if some have not.

    Args:
        what: the data set, for errors and notes.
        folders: by modality.
        clips: the names of the files.

    Raises:
        SourceNotFound: if no clip has all its files.
        ValueError: if that is since the files are pickles.
    """
    there = [{path.stem for path in folder.glob("*.npy")} for folder in folders.values()]
    places = [place for place, clip in enumerate(clips) if all(clip in names for names in there)]
    if not places:
        for folder, names in zip(folders.values(), there, strict=True):
            if not names:
                _refuse_pickles(what, folder)
        sought = " and ".join(str(folder / "<clip>.npy") for folder in folders.values())
        raise SourceNotFound(f"{what}: looked for {sought}, for {len(clips)} clips, and no clip has all its files.")
    lacking = len(clips) - len(places)
    lost = f"{what}: {lacking} of {len(clips)} clips lack a file of features and are left out."
    return places, (lost,) if lacking else ()


def _refuse_pickles(what: str, folder: Path) -> None:
    for pattern in ("*.zip", "zip/*.zip", "*.pkl"):
        found = next(folder.glob(pattern), None)
        if found is not None:
            raise ValueError(
                f"{what}: {found} holds a pickle, which can run any program when it is opened, so it is not. If you "
                f"trust where it comes from, write its array with numpy.save to {folder / (found.stem + '.npy')}; the "
                f"page on data sets has the lines for all files."
            )


def read_clips(what: str, folder: Path, clips: Sequence[str], space: Space) -> tuple[Tensor, Tensor]:
    """The features of these clips, ``[N, T, width]``, and which steps are there.

    Args:
        what: the data set, for errors.
        folder: of files ``<clip>.npy``, each ``[t, width]`` or maps ``[t, height, width, channels]``.
        clips: the names of the files.
        space: what becomes of maps.

    Raises:
        ValueError: if a file is damaged, of another shape than the others, or of steps that are no seconds.
    """
    return _together(what, folder, clips, [_read_clip(what, folder / f"{clip}.npy", space) for clip in clips])


def read_words(what: str, folder: Path, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The first words of these sentences, ``[N, T, width]``, and which steps have one.

    Args:
        what: the data set, for errors.
        folder: of files ``<sentence>.npy``, each ``[words, width]``.
        sentences: the names of the files.

    Raises:
        SourceNotFound: if a file is absent.
        ValueError: if one is damaged, or of another width than the others.
    """
    files = [folder / f"{sentence}.npy" for sentence in sentences]
    require_files(what, files)
    words = [_read_matrix(what, file)[:STEPS] for file in files]
    return _together(what, folder, sentences, words)


def _together(
    what: str, folder: Path, names: Sequence[str], sequences: Sequence[Tensor]
) -> tuple[Float[Tensor, "N T width"], Bool[Tensor, "N T"]]:
    widths = {sequence.shape[1]: name for name, sequence in zip(names, sequences, strict=True)}
    if len(widths) > 1:
        (first, one), (second, other) = list(widths.items())[:2]
        raise ValueError(
            f"{what}: files in {folder} differ: {one}.npy has features of width {first}, and {other}.npy of {second}."
        )
    return side_by_side(sequences, STEPS)


def _read_matrix(what: str, path: Path) -> Float[Tensor, "n width"]:
    values = read_array(what, path)
    if values.ndim != 2:
        raise ValueError(f"{what}: {path} should hold [words, width], got {values.shape}.")
    return torch.from_numpy(values.astype(np.float32))


def _read_clip(what: str, path: Path, space: Space) -> Float[Tensor, "t width"]:
    values = read_array(what, path)
    if values.ndim not in (2, 4):
        raise ValueError(
            f"{what}: {path} should hold [steps, width] or [steps, height, width, channels], got {values.shape}."
        )
    if len(values) >= 2 * STEPS:
        raise ValueError(f"{what}: {path} has {len(values)} steps; average them to {STEPS}, one for each second.")
    return over_space(values if values.ndim == 4 else values[:, None, None], space)[:STEPS]


@contextmanager
def opened_h5(what: str, path: Path, key: str) -> Iterator[Any]:
    """An array in an HDF5 file, which is read as far as it is indexed.

    Raises:
        ImportError: without the package h5py.
        SourceNotFound: if the file is absent.
        ValueError: if it is damaged, or has no such array.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f'{what}: {path.name} needs the package h5py: pip install "mmvae[features]".') from error
    if not path.is_file():
        raise SourceNotFound(f"{what}: looked for {path.name} in {path.parent}, and did not find it.")
    with reading(path, what, "Expected an HDF5 file of arrays; fetch it again."), h5py.File(path, "r") as file:
        if key not in file:
            raise ValueError(f"{what}: {path} should hold an array {key!r}; it holds {', '.join(file) or 'nothing'}.")
        yield file[key]


def by_chunks(array: Any, rows: Sequence[int], change: Callable[[np.ndarray], Tensor]) -> Tensor:
    """Some rows of an array that is read piece by piece, each changed as it is read.

    Rows are read in ascending order, as HDF5 demands, and given in the order of ``rows``.
    """
    order = np.argsort(rows, kind="stable")
    ascending = np.asarray(rows)[order]
    pieces = [change(array[ascending[at : at + _CHUNK]]) for at in range(0, len(ascending), _CHUNK)]
    return torch.cat(pieces)[torch.from_numpy(np.argsort(order, kind="stable"))]


def read_table(what: str, path: Path, columns: Sequence[str], delimiter: str) -> list[dict[str, str]]:
    """The rows of a list with a line of headings.

    Raises:
        SourceNotFound: if the file is absent.
        ValueError: if a column is, or a row is too short.
    """
    if not path.is_file():
        raise SourceNotFound(f"{what}: looked for {path.name} in {path.parent}, and did not find it.")
    records = read_records(what, path, delimiter)
    headings = records[0][1] if records else []
    rows = []
    for number, fields in records[1:]:
        row = dict(zip(headings, fields, strict=False))
        lacking = [column for column in columns if column not in row]
        if lacking:
            raise ValueError(f"{what}: line {number} of {path} has no {', '.join(lacking)}.")
        rows.append(row)
    return rows
