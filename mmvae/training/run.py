"""A run: what training gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmvae.objectives.judging import Judge, usual_judge
from mmvae.training.checkpoint import Checkpoints
from mmvae.training.journal import METRICS_FILE, Row, read_metrics
from mmvae.training.saving import load, read_configuration


@dataclass(frozen=True, eq=False)
class Run:
    """A model that was trained, its folder and its metrics.

    Attributes:
        model: the model.
        path: the folder, or ``None`` if nothing was written.
        metrics: a row for each epoch and split: ``epoch`` (from 1), ``split`` ("train" or "validation"), ``loss``, one
            entry for each term of the loss (nats, mean per datum), ``seconds``; of a model with stages also ``stage``.
        best_epoch: with validation, the epoch of the best score, whose weights the model holds unless it was told not
            to restore them; of a model with stages, in the last one. ``fit(select=)`` says what is compared.
    """

    model: Any = field(repr=False)
    path: Path | None
    metrics: list[Row] = field(repr=False)
    best_epoch: int | None = None

    @property
    def best(self) -> Row | None:
        """Validation metrics of :attr:`best_epoch`: loss and terms by name; ``None`` without validation."""
        found = [row for row in self.metrics if row["split"] == "validation" and row["epoch"] == self.best_epoch]
        return found[-1] if found else None

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
        rows = _metrics_of(folder)
        return cls(model, folder, rows, best_epoch(rows, read_configuration(folder).get("training", {})))


def _metrics_of(folder: Path) -> list[Row]:
    """The rows until the last checkpoint, whose last a kill may have kept from the file of metrics."""
    try:
        kept = Checkpoints(folder).rows()
    except ValueError:  # damaged, as load has said, or of format 1
        kept = None
    return read_metrics(folder / METRICS_FILE) if kept is None else kept


def score(row: Row, judge: Judge | None) -> float:
    """What validation compares, higher is better.

    Args:
        row: Metrics of a validation.
        judge: Names the term; by default the one that suits the recorded terms.
    """
    return (judge or usual_judge(row)).score(row)


def best_epoch(rows: list[Row], training: Mapping[str, Any]) -> int | None:
    """The first epoch of the highest score in validation, of the latest stage; ``None`` without validation.

    Args:
        rows: Metrics of the run.
        training: Settings of the run, as in ``config.json``, which name the judge.
    """
    validated = [row for row in rows if row["split"] == "validation"]
    if not validated:
        return None
    stage = validated[-1].get("stage")
    judge = judge_in(training, stage)
    latest = [row for row in validated if row.get("stage") == stage]
    return max(latest, key=lambda row: score(row, judge))["epoch"]


def judge_in(training: Mapping[str, Any], stage: str | None) -> Judge | None:
    """The judge that the settings of a run name, ``None`` where the recorded terms decide.

    Args:
        training: Settings of the run, as in ``config.json``.
        stage: Name of the stage, ``None`` for a model without stages.
    """
    settings = training if stage is None else training.get("stages", {}).get(stage, {})
    return Judge(**settings["judge"]) if "judge" in settings else None
