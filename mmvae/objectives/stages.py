"""Stages of training: parts that learn, one set after another, each for an objective of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmvae.batch import Batch
from mmvae.objectives.base import Loss
from mmvae.objectives.judging import Judge


@dataclass(frozen=True, eq=False)
class Stage:
    """One of several stages in which ``fit`` trains a model; see :attr:`mmvae.models.MultimodalModel.stages`.

    Args:
        name: Name of the stage, for ``fit(epochs={name: ...})`` and the column ``"stage"`` of the metrics.
        learns: Names of the parts that learn: attributes of the model, submodules or parameters, dotted for parts of
            parts (``"decoders.image"``). Other parts are frozen: they require no gradient, and are in evaluation mode.
        objective: What the stage minimises, an :class:`Objective` or another function of the model and a batch that
            conforms. It is ``model.objective`` while the stage trains, and ``model.loss`` is its loss. ``None`` for the
            model's own, also of models without an objective, such as classifiers.
        judged_by: What validation compares, a :class:`Judge` or the name of a term; by default what the objective says.

    Raises:
        TypeError: For a name that is not a string, or parts that are not a sequence of names.
        ValueError: For an empty name, or a stage without parts.
    """

    name: str
    learns: Sequence[str]
    objective: Callable[[Any, Batch], Loss] | None = None
    judged_by: Judge | str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"Stage: name must be a string, got {self.name!r}.")
        if not self.name:
            raise ValueError("Stage: name must not be empty.")
        if isinstance(self.learns, str) or not all(isinstance(part, str) for part in self.learns):
            raise TypeError(f"stage {self.name!r}: learns must be a tuple of names of parts, got {self.learns!r}.")
        if not self.learns:
            raise ValueError(f"stage {self.name!r}: no part learns; name at least one in learns=.")
        object.__setattr__(self, "learns", tuple(self.learns))
