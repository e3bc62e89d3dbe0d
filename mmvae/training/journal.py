"""What a run writes down after each epoch: rows of numbers, ``metrics.csv`` and TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvae.files import reading
from mmvae.storage import write_text

Row = dict[str, Any]
"""``epoch`` (from 1), ``split`` ("train" or "validation"), ``loss``, one entry for each term, ``seconds``."""

METRICS_FILE = "metrics.csv"
TENSORBOARD_FOLDER = "tensorboard"


def metrics_row(epoch: int, split: str, means: Mapping[str, float], seconds: float) -> Row:
    """A row of metrics from the means of an epoch, the loss among them."""
    return {"epoch": epoch, "split": split, **means, "seconds": round(seconds, 3)}


class Journal:
    """The rows of a run, on the disk too if there is a folder.

    Args:
        folder: of the run, or ``None``.
        rows: of the epochs before, when a run is resumed; what a killed run wrote after them is taken back.
    """

    def __init__(self, folder: Path | None, rows: Sequence[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)
        self._folder = folder
        self._board: Any = None
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        next_epoch = self.rows[-1]["epoch"] + 1 if self.rows else 1
        self._board = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=next_epoch)
        self._write()

    def add(self, rows: Sequence[Row]) -> None:
        """Takes in the rows of one epoch."""
        self.rows.extend(rows)
        if self._folder is None:
            return
        self._write()
        for row in rows:
            for name, value in row.items():
                if name not in ("epoch", "split"):
                    self._board.add_scalar(f"{name}/{row['split']}", value, row["epoch"])
        self._board.flush()

    def close(self) -> None:
        """Closes the files."""
        if self._board is not None:
            self._board.close()

    def _write(self) -> None:
        assert self._folder is not None
        names = dict.fromkeys(name for row in self.rows for name in row if name != "seconds")
        text = io.StringIO()
        writer = csv.DictWriter(text, [*names, "seconds"], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self._folder / METRICS_FILE, text.getvalue())


def read_metrics(path: Path) -> list[Row]:
    """The rows of a ``metrics.csv``.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    with (
        reading(path, advice="Expected a table of metrics; resume the run to have it written anew."),
        open(path, newline="", encoding="utf-8") as file,
    ):
        return [_parsed(row) for row in csv.DictReader(file, strict=True)]


def _parsed(row: Mapping[str, str]) -> Row:
    numbers = {name: float(value) for name, value in row.items() if name not in ("epoch", "split") and value != ""}
    return {"epoch": int(row["epoch"]), "split": row["split"], **numbers}
