"""Files and folders that are whole or not there."""

from __future__ import annotations

import glob
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

_ABANDONED = 3600.0
"""Seconds without a change, after which a temporary file or folder belongs to a process that was killed."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Has a file written under a temporary name, which then becomes ``path``; folders above it are made.

    A kill at any moment leaves the old file or the new one, never half of one, and no reader meets anything else.
    Several processes may write the same file: the last one to finish wins. What a killed one left beside it is removed
    by a later write.

    Args:
        path: of the file.
        write: called with the temporary path, in the same folder; it writes that file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, f".{glob.escape(path.name)}.*.tmp")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:  # on the disk before the name points to it
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder_whole(folder: Path, write: Callable[[Path], object]) -> None:
    """Has a folder filled under a temporary name, which then becomes ``folder``; folders above it are made.

    A kill at any moment leaves no folder or all of it. What a killed process left beside it is removed by a later one.

    Args:
        folder: which is not there yet, or empty.
        write: called with the temporary folder, which is in the same one; it writes the files.

    Raises:
        FileExistsError: if there is a folder that is not empty, or a file.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already; choose another folder, or delete that one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent, f".{glob.escape(folder.name)}.*.tmp")
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        write(temporary)
        for path in temporary.iterdir():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Removes temporary files and folders of processes that were killed: those that have not changed for an hour.

    Args:
        folder: that holds them.
        pattern: of their names; of a folder, the newest file counts.
    """
    for temporary in folder.glob(pattern):
        try:
            parts = list(temporary.iterdir()) if temporary.is_dir() else []
            newest = max((part.stat().st_mtime for part in parts), default=temporary.stat().st_mtime)
        except FileNotFoundError:  # its writer has just finished, or another process has removed it
            continue
        if time.time() - newest <= _ABANDONED:
            continue
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
