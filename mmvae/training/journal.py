"""The rows of metrics of a run, and the watchers that write them into its folder: ``metrics.csv`` and TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mmvae.files import named, reading
from mmvae.literal import as_cell, from_cell
from mmvae.storage import write_text

Row = dict[str, Any]
"""``epoch`` (from 1), ``split`` ("train" or "validation"), ``loss``, one entry for each term, ``seconds``.

Of a model with stages also ``stage``, the name; epochs are counted through all stages.
"""

TEXTS = ("split", "stage")
"""Columns of words; all others are numbers."""

METRICS_FILE = "metrics.csv"
TENSORBOARD_FOLDER = "tensorboard"


def metrics_row(epoch: int, split: str, stage: str | None, means: Mapping[str, float], seconds: float) -> Row:
    """A row of metrics from the means of an epoch, the loss among them."""
    staged = {} if stage is None else {"stage": stage}
    return {"epoch": epoch, "split": split, **staged, **means, "seconds": round(seconds, 3)}


@runtime_checkable
class _HasMetrics(Protocol):
    """A run."""

    metrics: list[Row]


class MetricsFile:
    """Writes ``metrics.csv``, anew after each epoch.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[Row] = []

    def begin(self, run: _HasMetrics) -> None:
        """Write the rows of the epochs before; rows that a killed run wrote after its last checkpoint go."""
        self._rows = list(run.metrics)
        self._write()

    def epoch(self, rows: Sequence[Row], model: Any) -> None:
        """Add the rows of an epoch."""
        self._rows.extend(rows)
        self._write()

    def _write(self) -> None:
        names = dict.fromkeys(name for row in self._rows for name in row if name != "seconds")
        text = io.StringIO()
        writer = csv.DictWriter(text, [*names, "seconds"], restval="", lineterminator="\n")
        writer.writerow({name: as_cell(name) for name in writer.fieldnames})
        for row in self._rows:
            writer.writerow({name: as_cell(value) if isinstance(value, str) else value for name, value in row.items()})
        write_text(self._folder / METRICS_FILE, text.getvalue())


class TensorBoard:
    """Writes the rows for TensorBoard, each column as ``<name>/<split>``.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._board: Any = None

    def begin(self, run: _HasMetrics) -> None:
        """Open the event file; on a resumed run, replace what was written from the last completed epoch on."""
        from torch.utils.tensorboard import SummaryWriter

        last = run.metrics[-1]["epoch"] if run.metrics else 1
        with named(self._folder / TENSORBOARD_FOLDER):
            self._board = SummaryWriter(str(self._folder / TENSORBOARD_FOLDER), purge_step=last)
        # A run may have been killed after the checkpoint of its last epoch, before this watcher was called.
        self._add([row for row in run.metrics if row["epoch"] == last])

    def epoch(self, rows: Sequence[Row], model: Any) -> None:
        """Add the rows of an epoch."""
        self._add(rows)

    def end(self, run: _HasMetrics) -> None:
        """Close the event file."""
        with named(self._folder / TENSORBOARD_FOLDER):
            self._board.close()

    def _add(self, rows: Sequence[Row]) -> None:
        with named(self._folder / TENSORBOARD_FOLDER):
            for row in rows:
                for name, value in row.items():
                    if name not in ("epoch", *TEXTS):
                        self._board.add_scalar(f"{name}/{row['split']}", value, row["epoch"])
            self._board.flush()


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
    stage = {"stage": from_cell(row["stage"])} if "stage" in row else {}
    numbers = {
        from_cell(name): float(value) for name, value in row.items() if name not in ("epoch", *TEXTS) and value != ""
    }
    return {"epoch": int(row["epoch"]), "split": row["split"], **stage, **numbers}
