"""A run: what training gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmvae.training.journal import METRICS_FILE, Row, read_metrics
from mmvae.training.saving import load


@dataclass(frozen=True, eq=False)
class Run:
    """A model that was trained, its folder and its metrics.

    Attributes:
        model: the model.
        path: the folder, or ``None`` if nothing was written.
        metrics: a row for each epoch and split: ``epoch`` (from 1), ``split`` ("train" or "validation"), ``loss``, one
            entry for each term of the loss (nats, mean per datum), ``seconds``.
        best_epoch: with validation, the epoch of the best score, whose weights the model holds unless it was told not
            to restore them.
    """

    model: Any = field(repr=False)
    path: Path | None
    metrics: list[Row] = field(repr=False)
    best_epoch: int | None = None

    @classmethod
    def load(cls, path: str | Path, model: Any = None) -> Run:
        """The run of a folder.

        Args:
            path: of the folder.
            model: an instance that takes the weights, needed for models with parts of your own; see
                :func:`mmvae.load`.

        Raises:
            FileNotFoundError: if there is no run in it.
            ValueError: if it is damaged, or of another model.
        """
        folder = Path(path)
        model = load(folder, model)
        rows = read_metrics(folder / METRICS_FILE)
        return cls(model, folder, rows, best_epoch(rows))


def score(row: Row) -> float:
    """What validation compares, higher is better: the ELBO; of a classifier the negative loss of its task.

    A model that has neither is judged by its loss.
    """
    return row["elbo"] if "elbo" in row else -row["task"] if "task" in row else -row["loss"]


def best_epoch(rows: list[Row]) -> int | None:
    """The first epoch of the highest validation ELBO, ``None`` without validation."""
    validated = [row for row in rows if row["split"] == "validation"]
    return max(validated, key=score)["epoch"] if validated else None
