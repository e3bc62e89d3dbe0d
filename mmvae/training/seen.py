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


class Seen:
    """Looks out for modalities that no row has had so far; costs nothing once all have come.

    Args:
        model: Model that is trained.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._waiting = set(model.names) if isinstance(model, RemembersSeen) else set()
        self._found: dict[str, Tensor] = {}
        self._has_said = False

    def add(self, batch: Batch) -> None:
        """Look at a batch, without waiting for the device."""
        for name in self._waiting.intersection(batch.names):
            if batch.complete:
                self._waiting.discard(name)
            else:
                there = batch.observed[name].any()
                self._found[name] = self._found[name] | there if name in self._found else there

    def note(self, gather: Callable[[Any], list[Any]]) -> None:
        """Tell the model what was seen in an epoch, and the user, once, what was not; all processes take part."""
        if not isinstance(self._model, RemembersSeen):
            return
        here = {name for name in self._model.names if name not in self._waiting or bool(self._found.get(name, False))}
        seen = set().union(*gather(sorted(here)))
        flags = torch.tensor([name in seen for name in self._model.names], device=self._model.seen.device)
        self._model.seen.logical_or_(flags)
        missing = [name for name in self._model.names if name not in seen]
        self._waiting = set(missing)
        if missing and not self._has_said:
            self._has_said = True
            warnings.warn(
                f"no training row has {', '.join(map(repr, missing))}: the networks of what is missing learn nothing, "
                f"and what is inferred from it or generated of it means nothing. Leave it out of the model, or train "
                f"on rows that have it.",
                stacklevel=2,
            )
