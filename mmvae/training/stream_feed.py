"""The feed of a stream: its batches in the order in which they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmvae.batch import Batch
from mmvae.seeds import derive_seed
from mmvae.streams import Streamed
from mmvae.training.feed import Feed, Stateful
from mmvae.training.randomness import Generators

_STREAM = "stream"


class StreamFeed(Feed):
    """Batches of a stream. What it draws at random follows from the seed and the epoch, whatever the model draws.

    All processes read with the same draws, so that a stream that shuffles is in the same order for all of them and
    their shares have nothing in common.

    Args:
        stream: the data.
        batch_size: rows of a step, on each process.
        seed: of the draws.
        rank: of this process.
        world: how many processes there are.

    Raises:
        ValueError: for an epoch of fewer rows than there are processes.
    """

    def __init__(self, stream: Streamed, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        self.stream = stream
        self.steps = stream.steps(batch_size, world)
        if not self.steps:
            raise ValueError(f"data: {world} processes cannot share a stream of length {len(stream)}; use fewer.")
        self._batch_size = batch_size
        self._seed = seed
        self._rank, self._world = rank, world
        self._at_start: dict[str, Any] | None = None  # the state of the dataset when the epoch under way began

    def shuffled(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from a step on, in the order of the stream; those before are read and dropped.

        Raises:
            ValueError: if the stream ends before the epoch does.
        """
        seed = derive_seed(self._seed, _STREAM, epoch)
        self._at_start = self._state_now()
        self.stream.begin(epoch, seed)
        generators = Generators(seed)
        batches = self.stream.batches(self._batch_size, self._rank, self._world)
        rows = 0
        for step in range(self.steps):
            with generators.in_use():
                batch = next(batches, None)
            if batch is None or self._is_short(step, batch):
                raise ValueError(self._too_short(epoch, step, rows + (0 if batch is None else batch.size)))
            rows += batch.size
            if step + 1 == self.steps:
                self._at_start = None
            if step >= first_step:
                yield batch

    def in_order(self) -> Iterator[Batch]:
        """The batches of one epoch, always the first."""
        return self.shuffled(0)

    def state(self) -> dict[str, Any] | None:
        """The state of the dataset when the epoch that is under way began, ``None`` for one without any."""
        return self._state_now() if self._at_start is None else self._at_start

    def restore(self, state: dict[str, Any] | None) -> None:
        """Puts the dataset into a state that :meth:`state` gave."""
        if isinstance(self.stream.dataset, Stateful) and state is not None:
            self.stream.dataset.load_state_dict(state)

    @property
    def is_uniform(self) -> bool:
        """What a stream holds is not known before it comes."""
        return False

    def _state_now(self) -> dict[str, Any] | None:
        dataset = self.stream.dataset
        return dict(dataset.state_dict()) if isinstance(dataset, Stateful) else None

    def _is_short(self, step: int, batch: Batch) -> bool:
        """Whether a batch is smaller than those that the stream cuts are, because nothing comes after it."""
        if self.stream.is_loader:
            return False
        rows = len(self.stream) // self._world
        return batch.size < (self._batch_size if step + 1 < self.steps else rows - step * self._batch_size)

    def _too_short(self, epoch: int, step: int, rows: int) -> str:
        stream = self.stream
        if not rows:
            return (
                f"data: the stream gave nothing in epoch {epoch + 1}, where a length of {len(stream)} was expected. "
                f"Look that it starts again each time it is iterated; fit reads some of it before the first epoch too."
            )
        if stream.is_loader:
            return (
                f"data: the loader ended in epoch {epoch + 1} after {step} of {len(stream)} batches; pass "
                f"mmvae.data.Streamed(loader, length=...) with as many as it gives."
            )
        share = f"its share of the length, {len(stream) // self._world}" if self._world > 1 else f"its {len(stream)}"
        return (
            f"data: the stream ended in epoch {epoch + 1} after {rows} rows of {share}; pass mmvae.data.Streamed(data, "
            f"length=...) with as many as it gives, and look that it starts again each time it is iterated."
        )
