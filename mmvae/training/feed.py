"""The feed: which rows of a source make up each step of each epoch."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int64
from torch import Tensor

from mmvae.batch import Batch
from mmvae.seeds import derive_seed
from mmvae.sources import FromDataset, InBlocks, InMemory, Source, is_uniform, steps_of
from mmvae.training.randomness import block_permutation, permutation

_ORDER = "order of the rows"
_SPLIT = "held-out rows"


@runtime_checkable
class Stateful(Protocol):
    """A source that draws at random and can say, and take up, the state of its generators."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state: Any) -> None:
        """Takes up a state."""


class Feed(ABC):
    """Batches of the epochs of a training, which follow from the seed and the epoch alone."""

    steps: int
    """Of an epoch."""

    @property
    @abstractmethod
    def is_uniform(self) -> bool:
        """Whether all batches hold the same modalities, even if no row has one."""

    @abstractmethod
    def shuffled(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch of training, from a step on."""

    @abstractmethod
    def in_order(self) -> Iterator[Batch]:
        """The batches of all data, always in the same order."""

    @abstractmethod
    def state(self) -> dict[str, Any] | None:
        """The state of the generators that the data itself draws from, ``None`` without any."""

    @abstractmethod
    def restore(self, state: dict[str, Any] | None) -> None:
        """Puts them into a state that :meth:`state` gave."""

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Leaves them, afterwards, in the state in which they were."""
        before = self.state()
        try:
            yield
        finally:
            self.restore(before)


class RowFeed(Feed):
    """Batches of chosen rows of a source, in an order that follows from the seed and the epoch alone.

    With several processes each gets its share of the rows, of the same length for all: the order is filled up from
    its beginning. Where a single row would be left for the last batch, the batch before takes it.

    Args:
        source: of N data points.
        rows: those that take part.
        batch_size: rows of a step, on each process.
        seed: of the order.
        rank: of this process.
        world: how many processes there are.
    """

    def __init__(
        self,
        source: Source,
        rows: Int64[Tensor, "N"],
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source = source
        self.size = len(rows)
        self.share = math.ceil(self.size / world)
        self.steps = steps_of(self.share, batch_size)
        self._rows = rows
        self._batch_size = batch_size
        self._seed = seed
        self._rank, self._world = rank, world

    def shuffled(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch of training from a step on, the rows in the order of that epoch."""
        order = self._rows[self._order(derive_seed(self._seed, _ORDER, epoch))]
        total = self.share * self._world
        filled = order.repeat(math.ceil(total / self.size))[:total]
        return self._batches(filled[self._rank :: self._world], first_step)

    def in_order(self) -> Iterator[Batch]:
        """The batches of all rows, each once, in the order in which they stand; what the processes get may differ."""
        return self._batches(self._rows[self._rank :: self._world])

    def _order(self, seed: int) -> Int64[Tensor, "N"]:
        blocks = self.source.blocks if isinstance(self.source, InBlocks) else None
        if blocks is None:
            return permutation(self.size, seed)
        return block_permutation(self.size, blocks.rows, blocks.together, seed)

    def _batches(self, order: Int64[Tensor, "B"], first_step: int = 0) -> Iterator[Batch]:
        if isinstance(self.source, InMemory):
            order = order.to(self.source.whole.device)  # once, not at every step
        steps = steps_of(len(order), self._batch_size)  # none where there are fewer rows than processes
        for step in range(first_step, steps):
            end = (step + 1) * self._batch_size if step + 1 < steps else len(order)
            yield self.source.batch(order[step * self._batch_size : end])

    @property
    def is_uniform(self) -> bool:
        """Whether all batches hold the same modalities, even if no row has one."""
        return is_uniform(self.source)

    def state(self) -> dict[str, Any] | None:
        """The state of the source's own generators, ``None`` for a source without any."""
        return None if self._stateful is None else dict(self._stateful.state_dict())

    def restore(self, state: dict[str, Any] | None) -> None:
        """Puts the source's own generators into a state that :meth:`state` gave."""
        if self._stateful is not None and state is not None:
            self._stateful.load_state_dict(state)

    @property
    def _stateful(self) -> Stateful | None:
        source = self.source.dataset if isinstance(self.source, FromDataset) else self.source
        return source if isinstance(source, Stateful) else None


def split(size: int, fraction: float, seed: int) -> tuple[Int64[Tensor, "T"], Int64[Tensor, "V"]]:
    """Rows for training and for validation, each in ascending order, chosen at random by the seed.

    Raises:
        ValueError: if the fraction leaves no row for one of the two.
    """
    held_out = round(size * fraction)
    if not 0 < fraction < 1 or not 0 < held_out < size:
        raise ValueError(
            f"validation: a fraction between 0 and 1 that leaves rows for training and for validation is needed, got "
            f"{fraction} of {size} rows."
        )
    order = permutation(size, derive_seed(seed, _SPLIT))
    return order[held_out:].sort().values, order[:held_out].sort().values
