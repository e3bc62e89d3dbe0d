"""Data that comes one item after another, whose rows cannot be asked for by their numbers."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import DataLoader, IterableDataset

from mmvae.batch import Batch
from mmvae.sources import as_batch, collate, steps_of


@runtime_checkable
class HasEpochs(Protocol):
    """A dataset, or a sampler, that is told the epoch before it is gone through, as PyTorch's samplers are."""

    def set_epoch(self, epoch: int) -> Any:
        """Takes the number of the epoch, from 0."""


class Streamed:
    """A stream for ``fit``: a dataset that is gone through from its beginning in every epoch, or a loader.

    **Workers.** With ``workers``, that many processes read ahead. Each goes through the dataset, which shares out its
    items among them by ``torch.utils.data.get_worker_info()``, as PyTorch asks of every iterable dataset; one that does
    not gives each item several times.

    **Processes.** With ``fit(devices=W)``, process r takes the items r, r + W, r + 2 W, ... of what each worker reads:
    the dataset itself need not know. All take equally many; what is over is left out. A loader is taken as it is, and
    has to give each process a share of its own, and all of them equally many batches.

    **Resuming** from the middle of an epoch goes through the stream again and drops what came before, with the random
    generators as they were at the start of the epoch. That is exact if what the dataset gives follows from its
    ``set_epoch(epoch)``, from its ``state_dict()`` (which checkpoints keep, as it was when the epoch began), and from
    the generators of PyTorch, Python and numpy, which are seeded by the epoch. Draws from elsewhere, and items that
    come in an order of their own, cannot be repeated; nor can draws of workers that persist from epoch to epoch.

    Args:
        data: an ``IterableDataset``, any object that can be iterated again and again, whose items are what
            :func:`mmvae.sources.collate` takes; or a ``DataLoader``, which makes the batches itself (dicts of tensors,
            pairs of a dict and labels, or with ``collate_fn=mmvae.sources.collate`` batches): a step is a batch of it.
        length: of an epoch: the number of items, over all processes, or of a loader the number of its batches, of each
            process. By default ``len(data)``. A stream that is longer is cut off there.
        workers: processes that read a dataset; 0 reads in this one. A loader has its own.

    Raises:
        TypeError: for something that cannot be iterated, or only once, and where no length is known.
        ValueError: for a length below 1, workers below 0, or workers of a loader.

    Example:
        >>> import torch, mmvae
        >>> class Numbers(torch.utils.data.IterableDataset):
        ...     def __iter__(self):
        ...         return ({"a": torch.full((4,), i / 7), "b": torch.full((4,), -i / 7)} for i in range(64))
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> run = mmvae.fit(vae, mmvae.data.Streamed(Numbers(), length=64), epochs=1, progress=False)
    """

    def __init__(self, data: Any, length: int | None = None, workers: int = 0) -> None:
        if isinstance(data, Iterator) or not isinstance(data, Iterable):
            what = "can be gone through only once" if isinstance(data, Iterator) else "cannot be iterated"
            raise TypeError(
                f"data: a {type(data).__name__} {what}; a stream is an object whose __iter__ starts again, such as a "
                f"torch.utils.data.IterableDataset."
            )
        if length is None:
            try:
                length = len(data)  # type: ignore[arg-type]
            except (TypeError, NotImplementedError) as error:
                raise TypeError(
                    f"data: the {type(data).__name__} does not know its length; say how long an epoch is: "
                    f"mmvae.data.Streamed(data, length=...)."
                ) from error
        if length < 1 or workers < 0:
            raise ValueError(f"data: expected a length from 1 on and workers from 0 on, got {length} and {workers}.")
        if workers and isinstance(data, DataLoader):
            raise ValueError("workers: a DataLoader has its own; give it num_workers=.")
        self.data: Any = data
        self.length = length
        self.workers = workers

    def __len__(self) -> int:
        return self.length

    @property
    def is_loader(self) -> bool:
        """Whether the batches are made already."""
        return isinstance(self.data, DataLoader)

    @property
    def dataset(self) -> Any:
        """What the items come from."""
        return self.data.dataset if self.is_loader else self.data

    def steps(self, batch_size: int, world: int = 1) -> int:
        """How many batches an epoch has, on each of so many processes."""
        return self.length if self.is_loader else steps_of(self.length // world, batch_size)

    def begin(self, epoch: int, seed: int) -> None:
        """Tells the dataset the epoch, and seeds the generator of a loader that has one of its own."""
        parts = [self.dataset]
        if self.is_loader:
            parts += [self.data.sampler, self.data.batch_sampler]
            if self.data.generator is not None:
                self.data.generator.manual_seed(seed)
        for part in parts:
            if isinstance(part, HasEpochs):
                part.set_epoch(epoch)

    def batches(self, batch_size: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """One epoch of one process; it ends early if the stream does.

        Args:
            batch_size: rows of each batch but the last; of a loader its own.
            rank: of this process.
            world: how many processes there are.
        """
        if self.is_loader:
            yield from map(as_batch, islice(self.data, self.length))
            return
        loader: DataLoader[Any] = DataLoader(
            _Share(self.data, rank, world),
            batch_size,
            num_workers=self.workers,
            collate_fn=collate,
            worker_init_fn=_leave_signals_to_the_run,
        )
        yield from _recut(loader, batch_size, self.length // world)


class _Share(IterableDataset[Any]):
    """Every so-many-th item of a stream."""

    def __init__(self, data: Iterable[Any], first: int, step: int) -> None:
        self._data, self._first, self._step = data, first, step

    def __iter__(self) -> Iterator[Any]:
        return islice(self._data, self._first, None, self._step)


def _recut(batches: Iterable[Batch], size: int, rows: int) -> Iterator[Batch]:
    """The first so many rows in batches of one size; the last of every worker comes in another."""
    held: Batch | None = None
    for batch in batches:
        held = batch if held is None else Batch.cat([held, batch])
        while held is not None and len(held) >= (cut := rows if steps_of(rows, size) == 1 else size):
            yield held if len(held) == cut else held[:cut]
            rows -= cut
            if not rows:
                return
            held = held[cut:] if len(held) > cut else None
    if held is not None:
        yield held


def _leave_signals_to_the_run(worker: int) -> None:
    """They are for the process that trains, which finishes its step and needs the workers until then.

    Of SIGTERM that holds for the first one, which a scheduler sends to all processes of a job. The second ends them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))


def as_stream(data: Any) -> Streamed | None:
    """Data that comes as a stream, ``None`` for what is none."""
    if isinstance(data, Streamed):
        return data
    return Streamed(data) if isinstance(data, IterableDataset | DataLoader) else None
