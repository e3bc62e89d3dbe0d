"""A run: what training gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmvae.objectives.judging import Judge, usual_judge
from mmvae.training.journal import METRICS_FILE, Row, read_metrics
from mmvae.training.saving import load, read_configuration


@dataclass(frozen=True, eq=False)
class Run:
    """A model that was trained, its folder and its metrics.

    Attributes:
        model: the model.
        path: the folder, or ``None`` if nothing was written.
        metrics: a row for each epoch and split: ``epoch`` (from 1), ``split`` ("train" or "validation"), ``loss``, one
            entry for each term of the loss (nats, mean per datum), ``seconds``.
        best_epoch: with validation, the epoch of the best score, whose weights the model holds unless it was told not
            to restore them. What is compared is the choice of ``fit(select=)``.
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
        return cls(model, folder, rows, best_epoch(rows, read_configuration(folder).get("training", {})))


def score(row: Row, judge: Judge | None) -> float:
    """What validation compares, higher is better.

    Args:
        row: Metrics of a validation.
        judge: Names the term; by default the one that suits the recorded terms.
    """
    return (judge or usual_judge(row)).score(row)


def best_epoch(rows: list[Row], training: Mapping[str, Any]) -> int | None:
    """The first epoch of the highest score in validation, ``None`` without validation.

    Args:
        rows: Metrics of the run.
        training: Settings of the run, as in ``config.json``, which name the judge.
    """
    judge = judge_in(training)
    validated = [row for row in rows if row["split"] == "validation"]
    return max(validated, key=lambda row: score(row, judge))["epoch"] if validated else None


def judge_in(training: Mapping[str, Any]) -> Judge | None:
    """The judge that the settings of a run name, ``None`` where the recorded terms decide."""
    return Judge(**training["judge"]) if "judge" in training else None
