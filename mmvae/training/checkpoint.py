"""Checkpoints: all that a run needs to continue as if it had never stopped, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from mmvae.storage import read_entry, read_metadata, read_state, write_state
from mmvae.training.config_file import BELONGS_TO, description_digest, read_configuration

CHECKPOINT_FILE = Path("checkpoints") / "last.safetensors"

State = dict[str, Any]
"""Nested dicts of tensors and plain values."""

Position = tuple[int, int]
"""How far a run has come: completed epochs, and completed steps of the next one."""


class Checkpoints:
    """The last checkpoint of a run folder; a new one takes its place at once, never in part.

    Args:
        folder: Folder of the run, or ``None`` to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @cached_property
    def description(self) -> str:
        """Digest of the description of the model, as it is in the folder when the run begins."""
        assert self.folder is not None
        return description_digest(read_configuration(self.folder))

    def write(self, state: State) -> None:
        """Put a checkpoint in the place of the last one."""
        if self.folder is not None:
            belongs_to = {BELONGS_TO: self.description}
            position = in_words((state["epoch"], state["step"]))
            write_state(self.folder / CHECKPOINT_FILE, {**state, **belongs_to}, belongs_to | position)

    def read(self) -> State | None:
        """The last checkpoint, ``None`` if there is none.

        Raises:
            ValueError: If it is damaged.
        """
        if self.folder is None or not (self.folder / CHECKPOINT_FILE).exists():
            return None
        return read_state(self.folder / CHECKPOINT_FILE)

    def position(self) -> Position | None:
        """How far the last checkpoint is, read without the rest of it; ``None`` if there is none.

        Raises:
            ValueError: If it is damaged.
        """
        if self.folder is None or not (self.folder / CHECKPOINT_FILE).exists():
            return None
        metadata = read_metadata(self.folder / CHECKPOINT_FILE)
        if metadata is None:
            raise ValueError(f"{self.folder / CHECKPOINT_FILE} is damaged: it has no digest.")
        return position_in(metadata)

    def rows(self) -> list[dict[str, Any]] | None:
        """The metrics until the last checkpoint, read without the rest of it; ``None`` if there is none.

        Raises:
            ValueError: If it is damaged.
        """
        if self.folder is None or not (self.folder / CHECKPOINT_FILE).exists():
            return None
        rows: list[dict[str, Any]] = read_entry(self.folder / CHECKPOINT_FILE, "rows")
        return rows

    def __str__(self) -> str:
        return "none, as no folder was given (out=)" if self.folder is None else str(self.folder / CHECKPOINT_FILE)


def weights_in(state: State) -> Mapping[str, Tensor]:
    """The weights of a checkpoint for use: those of the best epoch if the run keeps these, otherwise the latest."""
    weights: Mapping[str, Tensor] = (
        state["best"]["tensors"] if state["keeps_best"] and state["best"] else state["model"]
    )
    return weights


def in_words(position: Position) -> dict[str, str]:
    """A position as metadata of a file."""
    return {"epoch": str(position[0]), "step": str(position[1])}


def position_in(metadata: Mapping[str, str] | None) -> Position | None:
    """The position that the metadata of a file names, ``None`` if it names none."""
    if metadata is None or not {"epoch", "step"} <= set(metadata):
        return None
    return int(metadata["epoch"]), int(metadata["step"])
