"""Evaluations of models trained with several seeds: means, standard deviations, paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mmvae.evaluation.results import Evaluation, make_row, members

_Key = tuple[str, frozenset[str], str]


def across_seeds(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The mean of each number over several trainings of one model.

    Extras: ``sd``, the standard deviation over the trainings; ``stderr``, that of the mean; ``n``, how many trainings.
    Numbers that some evaluation lacks are left out.

    Args:
        evaluations: one for each training.

    Raises:
        ValueError: for no evaluations.

    Example:
        >>> first, second = (Evaluation([make_row("cosine", value, "a")]) for value in (0.4, 0.6))
        >>> across_seeds([first, second]).value("cosine", "a")
        0.5
    """
    if not evaluations:
        raise ValueError("across_seeds: no evaluations; pass one for each training.")
    rows = []
    for key in _common(evaluations):
        values = torch.tensor([_values(each)[key] for each in evaluations], dtype=torch.float64)
        sd = float(values.std()) if len(values) > 1 else math.nan
        metric, given, target = key
        label = next(row["given"] for row in evaluations[0].select(metric, given, target))
        mean = float(values.mean())
        rows.append(make_row(metric, mean, label, target, sd=sd, stderr=sd / math.sqrt(len(values)), n=len(values)))
    return Evaluation(rows)


def paired_differences(first: Sequence[Evaluation], second: Sequence[Evaluation]) -> Evaluation:
    """The mean of ``first - second`` over several seeds, number by number; extras as of :func:`across_seeds`.

    What two trainings with one seed have in common (data, order of batches, judges) has no part in the spread.

    Args:
        first: one evaluation for each seed.
        second: of another model, for the same seeds in the same order.

    Raises:
        ValueError: for no evaluations, or more of the one than of the other.
    """
    if len(first) != len(second):
        raise ValueError(f"paired_differences: {len(first)} evaluations cannot be paired with {len(second)}.")
    differences = []
    for one, other in zip(first, second, strict=True):
        there = _values(other)
        shared = [row | {"value": row["value"] - there[_key(row)]} for row in one.rows if _key(row) in there]
        differences.append(Evaluation(shared))
    return across_seeds(differences)


def _key(row: dict[str, object]) -> _Key:
    return str(row["metric"]), members(str(row["given"])), str(row["target"])


def _values(evaluation: Evaluation) -> dict[_Key, float]:
    return {_key(row): row["value"] for row in evaluation.rows}


def _common(evaluations: Sequence[Evaluation]) -> list[_Key]:
    """The keys that all evaluations have, in the order of the first."""
    others = [_values(each) for each in evaluations[1:]]
    return [key for key in _values(evaluations[0]) if all(key in other for other in others)]
