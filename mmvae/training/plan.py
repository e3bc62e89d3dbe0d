"""The plan of a training run: its stages, and for each of them how many epochs, what learns, and what judges it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from torch.optim import Optimizer

from mmvae.abilities import HasObjective, Trains
from mmvae.objectives import Judge, Stage
from mmvae.objectives.judging import judge_named
from mmvae.training.fingerprint import optimizer_in_words
from mmvae.training.freezing import learning

Epochs = int | Mapping[str, int]
"""How often to go through the data: in all (in each stage, where a model has stages), or by stage."""


@dataclass(frozen=True, eq=False)
class Planned:
    """A stage of a run. A model without stages has a single one, in which all parts learn for ``model.loss``.

    Attributes:
        name: Name of the stage, ``None`` for a model without stages.
        learns: Names of the parts that learn, ``None`` for all.
        objective: What the model is trained for, ``None`` for a model without an objective.
        epochs: How often to go through the data.
        judge: What validation compares, ``None`` where the recorded terms decide.
        is_judge_chosen: Whether the user or the model named the term, which may not be recorded.
        settled_after: Number of epochs after which no weight of the loss changes any more.
    """

    name: str | None
    learns: tuple[str, ...] | None
    objective: Any
    epochs: int
    judge: Judge | None
    is_judge_chosen: bool
    settled_after: float


@runtime_checkable
class HasStages(Protocol):
    """A model that may be trained in stages; all of the library may be."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order; empty for a single one in which everything learns."""


@runtime_checkable
class Judged(Protocol):
    """An objective that says what judges it; every :class:`mmvae.objectives.Objective` does."""

    settled_after: float

    def judged_by(self, model: Any) -> Judge:
        """What validation compares."""


def plan(model: Trains, epochs: Epochs, select: str | Judge | None) -> tuple[Planned, ...]:
    """The stages of a run, in order.

    Args:
        model: To train.
        epochs: A number, or one for each stage.
        select: What validation compares in every stage; by default what stages and objectives say.

    Raises:
        ValueError: For epochs of unknown or missing stages, a part that the model does not have, stages of one name, or
            a term whose good end is not known; for a stage in which all parts are frozen.
        TypeError: For a choice of validation that is neither a name nor a judge.
    """
    stages = model.stages if isinstance(model, HasStages) else ()
    counts = _counts(epochs, [stage.name for stage in stages])
    return tuple(_planned(model, stage, count, select) for stage, count in zip(stages or (None,), counts, strict=True))


@contextlib.contextmanager
def in_stage(model: Any, stage: Planned) -> Iterator[None]:
    """Lets the parts of a stage learn alone, for its objective, and gives the model back as it was."""
    attributes = vars(model)
    is_exchanged = stage.name is not None and stage.objective is not None
    before = {name: attributes[name] for name in ("objective",) if name in attributes}
    with learning(model, stage.learns):
        if is_exchanged:
            attributes["objective"] = stage.objective  # past nn.Module, which would register one with weights
        try:
            yield
        finally:
            if is_exchanged:
                attributes.pop("objective")
                attributes.update(before)


def epochs_of(stages: Sequence[Planned]) -> Epochs:
    """The epochs of a plan, by name where there are stages."""
    return stages[0].epochs if stages[0].name is None else {str(stage.name): stage.epochs for stage in stages}


def settings_of(
    model: Any, stages: Sequence[Planned], is_validated: bool, make_optimizer: Callable[[], Optimizer]
) -> dict[str, Any]:
    """What of a plan may not change when a run is resumed, as JSON.

    Args:
        model: To train.
        stages: Its plan.
        is_validated: Whether there is validation, which a judge compares.
        make_optimizer: Makes an optimiser of what then requires gradients.
    """

    def settings(stage: Planned) -> dict[str, Any]:
        words: dict[str, Any] = {}
        with learning(model, stage.learns):
            if any(each.requires_grad for each in model.parameters()):
                words["optimizer"] = optimizer_in_words(make_optimizer())
        if is_validated and stage.judge is not None:
            words["judge"] = asdict(stage.judge)
        return words

    if stages[0].name is None:
        return settings(stages[0])
    return {"stages": {str(stage.name): {"learns": list(stage.learns or ()), **settings(stage)} for stage in stages}}


def _planned(model: Any, stage: Stage | None, epochs: int, select: str | Judge | None) -> Planned:
    """A stage of a model, or all of the training of one without stages."""
    objective = model.objective if isinstance(model, HasObjective) else None
    name, learns, chosen = None, None, select
    if stage is not None:
        name, learns, chosen = stage.name, tuple(stage.learns), stage.judged_by if select is None else select
        if stage.objective is not None and objective is None:
            raise ValueError(
                f"stage {name!r}: {type(model).__name__} has no objective that another could stand in for; leave "
                f"objective= out, and the stage minimises the loss of the model."
            )
        objective = stage.objective or objective
    judge = _chosen_judge(chosen, model)
    with learning(model, learns):  # an objective looks at what learns
        if stage is not None and epochs and not any(each.requires_grad for each in model.parameters()):
            raise ValueError(
                f"stage {name!r}: nothing learns, as all of {', '.join(learns or ())} is frozen; skip it by 0."
            )
        judged = objective if objective is not None else model
        if judge is None and isinstance(judged, Judged):
            judge = judged.judged_by(model)
    settled_after = judged.settled_after if isinstance(judged, Judged) else 0.0
    return Planned(name, learns, objective, epochs, judge, chosen is not None, settled_after)


def _chosen_judge(chosen: str | Judge | None, model: Any) -> Judge | None:
    if chosen is None or isinstance(chosen, Judge):
        return chosen
    if not isinstance(chosen, str):
        raise TypeError(f"select: expected the name of a term, or a Judge, got {chosen!r}.")
    return judge_named(chosen, model.names)


def _counts(epochs: Epochs, names: Sequence[str]) -> list[int]:
    """How many epochs each stage has."""
    if len(set(names)) < len(names):
        raise ValueError(f"stages: two of them have the same name; got {', '.join(map(repr, names))}.")
    if not isinstance(epochs, Mapping):
        return [epochs] * max(1, len(names))
    if not names:
        raise ValueError("epochs: this model has no stages; pass a number, such as epochs=30.")
    wrong = [f"there is no stage {name!r}" for name in epochs if name not in names]
    wrong += [f"stage {name!r} is missing" for name in names if name not in epochs]
    if wrong:
        expected = ", ".join(f"{name!r}: ..." for name in names)
        raise ValueError(f"epochs: {' and '.join(wrong)}. Pass a number, or epochs={{{expected}}}.")
    return [epochs[name] for name in names]
