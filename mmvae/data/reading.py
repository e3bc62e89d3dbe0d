"""What readers of data sets share: where they look, and how they read lists."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mmvae.choices import check_choice
from mmvae.data.images import DATA_VARIABLE, SourceNotFound, data_root

Split = Literal["train", "validation", "test"]


def checked_split(split: str) -> None:
    """Raises a ``ValueError`` unless it is one of the three."""
    check_choice("split", split, get_args(Split))


def data_folder(what: str, root: Path | str | None, folders: Sequence[str], needs: str) -> Path:
    """The folder of a data set: the root itself, or one of these below it, whichever holds what is needed.

    Args:
        what: the data set, for errors.
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        folders: names below the root.
        needs: a file or folder by which it is known.

    Raises:
        SourceNotFound: if there is none.
    """
    chosen = data_root(root)
    if chosen is None:
        raise SourceNotFound(f"{what}: looked for {needs}, but no folder of data sets is given ({DATA_VARIABLE}).")
    places = [chosen, *(chosen / folder for folder in folders)]
    for place in places:
        if (place / needs).exists():
            return place
    raise SourceNotFound(f"{what}: looked for {needs} in {', '.join(map(str, places))}, and did not find it.")


def first_that_exists(what: str, candidates: Sequence[Path]) -> Path:
    """The first of these files or folders that is there.

    Raises:
        SourceNotFound: if none is.
    """
    for path in candidates:
        if path.exists():
            return path
    raise SourceNotFound(f"{what}: looked for {' or '.join(map(str, candidates))}, and did not find it.")


def require_files(what: str, paths: Sequence[Path]) -> None:
    """Raises a :class:`SourceNotFound` if files are absent, which says how many and names the first."""
    folders = {path.parent for path in paths}
    there = {file for folder in folders if folder.is_dir() for file in folder.iterdir()}  # a look for each is slower
    absent = [path for path in dict.fromkeys(paths) if path not in there]
    if absent:
        raise SourceNotFound(
            f"{what}: {len(absent)} of {len(set(paths))} files are absent; the first is {absent[0].name}, looked for "
            f"in {absent[0].parent}."
        )


def read_json(what: str, path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{what}: {path} is damaged ({error}); fetch it again.") from error


def read_part(what: str, path: Path, names: Sequence[str], things: str) -> list[str]:
    """A part of a data set, from a JSON file with a list for each.

    Args:
        what: the data set, for errors.
        path: of the file.
        names: that the part may have there; the first that is found counts.
        things: what is listed, for errors.

    Raises:
        ValueError: if the file is damaged, or has no such part.
    """
    parts = read_json(what, path)
    for name in names:
        if isinstance(parts, dict) and isinstance(parts.get(name), list):
            return [str(thing) for thing in parts[name]]
    raise ValueError(f"{what}: {path} should hold lists of {things} by part, one of them {names[0]!r}.")


def read_json_lines(what: str, path: Path, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The objects of a file that has one in each line.

    Args:
        what: the data set, for errors.
        path: of the file.
        fields: that each of them must have.

    Raises:
        ValueError: if a line is damaged, or lacks a field.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{what}: line {number} of {path} is damaged ({error}); fetch it again.") from error
            lacking = [field for field in fields if not isinstance(item, dict) or field not in item]
            if lacking:
                raise ValueError(
                    f"{what}: line {number} of {path} lacks {', '.join(lacking)}; expected an object with "
                    f"{', '.join(fields)}."
                )
            yield item


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
