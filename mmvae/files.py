"""Files that are whole or not there, and one door through which every file is read."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

_ABANDONED = 3600.0
"""Seconds without a change, after which a temporary file or folder belongs to a process that was killed."""

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.mmvae\.tmp")
"""Names that :func:`temporary_beside` gives. No other file is ever taken for a temporary one of this library."""


@contextlib.contextmanager
def reading(path: Path | str, what: str = "", advice: str = "Restore it from a copy.") -> Iterator[None]:
    """Name the file in whatever goes wrong while it is read and taken apart.

    Whoever takes a file apart uses libraries that raise what they like: errors of recursion for nested JSON, of memory
    for a size in a header, of zip archives, tables, images and tokens of Python. They all mean one thing.

    Args:
        path: Of the file.
        what: Data set or thing that the file is of, for the message.
        advice: Sentence that says what to do.

    Raises:
        OSError: As it comes, with the name of the file: there is none, or the system cannot read it.
        ImportError: As it comes: a package is not installed.
        ValueError: In the place of any other error.
    """
    try:
        with named(Path(path)):
            yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if isinstance(error, ValueError) and str(path) in str(error):  # it has been named already
            raise
        cause = next(iter(str(error).splitlines()), "")
        place = f"{what}: {path}" if what else f"{path}"
        reason = f"{type(error).__name__}: {cause}"
        raise ValueError(f"{place} is damaged, or not what was expected ({reason}). {advice}") from error


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Name the file in an error of the system, such as that of a full disk, which names none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, which then becomes ``path``; make the folders above it.

    A kill at any moment leaves the old file or the new one, never half of one, and no reader meets anything else.
    Several processes may write the same file: the last one to finish wins. A later write removes what a killed one
    left beside it.

    Args:
        path: Of the file.
        write: Called with the temporary path, in the same folder; it writes that file.

    Raises:
        OSError: If the file cannot be written; it names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    temporary = temporary_beside(path)
    try:
        with named(path):
            write(temporary)
            with open(temporary, "rb+") as file:  # on the disk before the name points to it
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder_whole(folder: Path, write: Callable[[Path], object]) -> None:
    """Fill a folder under a temporary name, which then becomes ``folder``; make the folders above it.

    A kill at any moment leaves no folder or all of it. A later write removes what a killed one left beside it.

    Args:
        folder: Not there yet, or empty.
        write: Called with the temporary folder, which is in the same one; it writes the files.

    Raises:
        FileExistsError: If there is a folder that is not empty, or a file.
        OSError: If the folder cannot be written; it names the folder.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already; choose another folder, or delete that one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent)
    temporary = temporary_beside(folder)
    temporary.mkdir()
    try:
        with named(folder):
            write(temporary)
            for path in temporary.iterdir():
                with open(path, "rb+") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_beside(path: Path) -> Path:
    """Return a new name in the folder of ``path`` for a file or folder that becomes ``path`` when it is whole."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.mmvae.tmp")


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files and folders of this library that killed processes left: those unchanged for an hour.

    Args:
        folder: That holds them. Files of any other name stay.
    """
    for temporary in [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]:
        try:
            parts = list(temporary.iterdir()) if temporary.is_dir() else []
            newest = max((part.stat().st_mtime for part in parts), default=temporary.stat().st_mtime)
        except OSError:  # its writer has just finished, or another process has removed it
            continue
        if time.time() - newest <= _ABANDONED:
            continue
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # another user's, perhaps
                temporary.unlink()
