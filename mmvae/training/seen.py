"""Which modalities a training has seen, so that a model can say what it never learned."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mmvae.batch import Batch


@runtime_checkable
class RemembersSeen(Protocol):
    """A model that remembers which of its modalities some training row had."""

    names: tuple[str, ...]
    seen: Tensor

    def unseen(self, subset: Any = None) -> tuple[str, ...]:
        """The modalities that no row had."""


class Seen:
    """Looks out for modalities that no row has had so far; costs nothing once all have come.

    Args:
        model: Model that is trained.
    """

    def __init__(self, model: Any) -> None:
        self._model = model if isinstance(model, RemembersSeen) else None
        self._waiting: set[str] | None = None
        self._found: dict[str, Tensor] = {}
        self._has_said = False

    def add(self, batch: Batch) -> None:
        """Look at a batch, without waiting for the device."""
        if self._waiting is None:  # not before the weights of a run that is resumed are in place
            self._waiting = set(self._missing())
        for name in self._waiting.intersection(batch.names):
            if batch.complete:
                self._found[name] = torch.tensor(True)
                self._waiting.discard(name)
            else:
                there = batch.observed[name].any()
                self._found[name] = self._found[name] | there if name in self._found else there

    def note(self, gather: Callable[[Any], list[Any]]) -> None:
        """Tell the model what was seen so far; all processes take part, and wait for their devices."""
        if self._model is None:
            return
        here = [name for name, found in self._found.items() if bool(found)]
        seen = {name for names in gather(here) for name in names}
        flags = torch.tensor([name in seen for name in self._model.names], device=self._model.seen.device)
        self._model.seen.logical_or_(flags)
        self._waiting = set(self._missing())

    def warn(self) -> None:
        """Tell the user, once, what no row had, after an epoch that was noted."""
        missing = self._missing()
        if missing and not self._has_said:
            self._has_said = True
            warnings.warn(
                f"no training row has {', '.join(map(repr, missing))}: the networks of what is missing learn nothing, "
                f"and what is inferred from it or generated of it means nothing. Leave it out of the model, or train "
                f"on rows that have it.",
                stacklevel=2,
            )

    def _missing(self) -> list[str]:
        if self._model is None:
            return []
        return [name for name, seen in zip(self._model.names, self._model.seen.tolist(), strict=True) if not seen]
