"""What readers of data sets share: where they look, and how they read lists."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mmvae.choices import check_choice
from mmvae.data.images import DATA_VARIABLE, SourceNotFound, data_root
from mmvae.files import reading
from mmvae.storage import mapped_array

Split = Literal["train", "validation", "test"]

_FETCH = "Fetch it again."


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
    with reading(path, what, _FETCH):
        return json.loads(path.read_bytes().decode("utf-8"))


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
            with reading(f"line {number} of {path}", what, _FETCH):
                item = json.loads(line)
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
    with (
        reading(path, what, "Expected an .npz file of plain arrays; fetch it again."),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return dict(arrays)


def read_array(what: str, path: Path) -> np.ndarray:
    """The numbers of an .npy file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds anything but numbers.
    """
    values = np.array(map_npy(what, path))  # a header that asks for more than there is takes no memory
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{what}: {path} should be an .npy file of numbers.")
    return values


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
    return mapped_array(path, "r", what, "Expected an .npy file of a plain array; fetch it again.")


def read_records(
    what: str, path: Path, delimiter: str = ",", begins_record: Callable[[str], bool] | None = None
) -> list[tuple[int, list[str]]]:
    """The records of a list of separated values, each with the number of its line; empty lines are passed over.

    A quote that is not closed makes one field of all that follows it, up to the next quote. Records would be lost
    without a word, so a field that runs over a line is refused.

    Args:
        what: The data set, for errors.
        path: Of the file.
        delimiter: Between fields.
        begins_record: Whether a line begins a record of its own, for lists of free text, whose fields may run over
            lines that do not, and hold quotes of their own; by default every line does.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a quote is not closed, or the file is damaged.
    """
    records = []
    with reading(path, what, _FETCH):
        lines = io.StringIO(path.read_bytes().decode("utf-8", errors="replace"), newline="")
        reader, line = csv.reader(lines, delimiter=delimiter, strict=begins_record is None), 1
        for fields in reader:
            within = [text for field in fields for text in field.splitlines()[1:]]
            if reader.line_num > line and (begins_record is None or any(map(begins_record, within))):
                raise ValueError(f"the quote in line {line} is not closed in it, and would hide the lines that follow")
            if fields:
                records.append((line, fields))
            line = reader.line_num + 1
    return records
