"""Checkpoints: all that a run needs to continue as if it had never stopped, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmvae.storage import read_state, write_state

CHECKPOINT_FILE = Path("checkpoints") / "last.safetensors"

State = dict[str, Any]
"""Nested dicts of tensors and plain values."""


class Checkpoints:
    """The last checkpoint of a run folder; a new one takes its place at once, never in part.

    Args:
        folder: of the run, or ``None`` to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def write(self, state: State) -> None:
        """Puts a checkpoint in the place of the last one."""
        if self.folder is not None:
            write_state(self.folder / CHECKPOINT_FILE, state)

    def read(self) -> State | None:
        """The last checkpoint, ``None`` if there is none.

        Raises:
            ValueError: if it is damaged.
        """
        if self.folder is None or not (self.folder / CHECKPOINT_FILE).exists():
            return None
        return read_state(self.folder / CHECKPOINT_FILE)

    def __str__(self) -> str:
        return "none, as no folder was given (out=)" if self.folder is None else str(self.folder / CHECKPOINT_FILE)
