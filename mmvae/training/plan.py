"""What a training run will do: what its validation compares."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from mmvae.objectives import Judge
from mmvae.objectives.judging import judge_named


@runtime_checkable
class HasObjective(Protocol):
    """A model whose loss is that of an objective."""

    objective: Any


@runtime_checkable
class Judged(Protocol):
    """An objective that says what judges it; every :class:`mmvae.objectives.Objective` does."""

    settled_after: float

    def judged_by(self, model: Any) -> Judge:
        """What validation compares."""


def judge_of(model: Any, select: str | Judge | None) -> Judge | None:
    """What validation compares, ``None`` where the recorded terms decide.

    Args:
        model: To train.
        select: What the user asks for.

    Raises:
        ValueError: For a term whose good end is not known.
        TypeError: For something that is neither a name nor a judge.
    """
    if isinstance(select, Judge):
        return select
    if isinstance(select, str):
        return judge_named(select, model.names)
    if select is not None:
        raise TypeError(f"select: expected the name of a term, or a Judge, got {select!r}.")
    objective = _objective(model)
    return None if objective is None else objective.judged_by(model)


def settled_after(model: Any) -> float:
    """Number of epochs after which no weight of a model's loss changes any more."""
    objective = _objective(model)
    return 0.0 if objective is None else objective.settled_after


def _objective(model: Any) -> Judged | None:
    """The objective of a model, if it has one that says what judges it."""
    objective = model.objective if isinstance(model, HasObjective) else None
    return objective if isinstance(objective, Judged) else None
