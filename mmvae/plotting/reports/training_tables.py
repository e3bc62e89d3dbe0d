"""What the report of a run says of its training besides curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmvae.objectives.judging import usual_judge
from mmvae.plotting.figures.curves import term_names
from mmvae.plotting.reports.page import Page, number
from mmvae.training.run import best_epoch, judge_in

Metrics = Sequence[Mapping[str, Any]]


def write_epochs(page: Page, metrics: list[dict[str, Any]], training: Mapping[str, Any]) -> None:
    """A table of the epoch of the best validation score and of the last, and what training took.

    Args:
        page: to write on.
        metrics: of the run, one row at least.
        training: its settings, ``{}`` if they are not known.
    """
    terms = term_names(metrics)
    best, last = best_epoch(metrics, training), max(row["epoch"] for row in metrics)
    shown = [row for row in metrics if row["epoch"] in (best, last)]
    seconds = sum(row.get("seconds", 0.0) for row in metrics)
    step = seconds_per_step(metrics, training)
    pace = "" if step is None else f", {number(1000 * step)} ms a step"
    compared = _compared(terms, training, metrics[-1].get("stage"))
    epochs = "The last epoch" if best is None else f"The epoch of the best validation {compared}, and the last"
    unit = "; nats per datum" if "elbo" in terms else ""
    page.table(
        ["epoch", "split", *terms],
        [[str(row["epoch"]), row["split"], *(row.get(term) for term in terms)] for row in shown],
        f"{epochs}{unit}. {number(seconds)} s of training in all{pace}.",
    )


def best_figures(metrics: Metrics) -> dict[str, str]:
    """The best ELBO, or accuracy, by what it is; nothing for models that have neither."""
    validated = [row for row in metrics if row["split"] == "validation"]
    where = "validation" if validated else "training"
    for term, name in (("elbo", f"best ELBO in {where} (nats per datum)"), ("accuracy", f"best accuracy in {where}")):
        values = [row[term] for row in validated or metrics if term in row]
        if values:
            return {name: number(max(values))}
    return {}


def seconds_per_step(metrics: Metrics, training: Mapping[str, Any]) -> float | None:
    """What a step of training took, mean over all epochs; ``None`` where the size of the data is not known.

    Args:
        metrics: of the run.
        training: its settings, as in ``config.json``.
    """
    if not {"rows", "batch_size", "devices"} <= training.keys():
        return None
    epochs = [row["seconds"] for row in metrics if row["split"] == "train" and "seconds" in row]
    steps = math.ceil(math.ceil(training["rows"] / training["devices"]) / training["batch_size"])
    return sum(epochs) / (len(epochs) * steps) if epochs and steps else None


def _compared(terms: Sequence[str], training: Mapping[str, Any], stage: str | None) -> str:
    """What validation compares, in words."""
    term = (judge_in(training, stage) or usual_judge(terms)).term
    return {"elbo": "ELBO", "task": "loss of the task"}.get(term, term)
