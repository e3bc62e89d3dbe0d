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
