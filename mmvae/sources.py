"""Where batches come from: tensors in memory, or a dataset, behind one small interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.labels import as_labels
from mmvae.sparse import as_csr, dense_rows, is_sparse


@runtime_checkable
class Source(Protocol):
    """N data points, of which any rows can be had as a batch."""

    def __len__(self) -> int:
        """N."""

    def batch(self, rows: Tensor) -> Batch:
        """The data points at ``rows``, int64 ``[B]``."""


@numbers_checked
@dataclass(frozen=True)
class Blocks:
    """How rows are shuffled that lie on a disc, where neighbours are read together: in blocks, some at a time.

    The blocks come in a random order, and the rows of ``together`` blocks that follow each other are mixed. With blocks
    of one row, or fewer blocks than ``together``, that is a full permutation.

    Attributes:
        rows: of a block.
        together: how many blocks are mixed; so many are being read at any time.

    Raises:
        ValueError: for numbers below 1.
    """

    rows: int
    together: int = 256


@runtime_checkable
class InBlocks(Protocol):
    """A source that may say how training shall shuffle it; without blocks by a full permutation."""

    blocks: Blocks | None


@runtime_checkable
class Uniform(Protocol):
    """A source that says whether each of its batches holds the same modalities, even one that no row of it has.

    Processes that train together then need not compare their batches.
    """

    is_uniform: bool


def is_uniform(source: Source) -> bool:
    """What a source says of itself; of one that says nothing, no."""
    return isinstance(source, Uniform) and source.is_uniform


@runtime_checkable
class Placeable(Protocol):
    """A source that can lie on a device, whole, if it is the same at every reading."""

    @property
    def bytes_in_memory(self) -> int | None:
        """How much it takes there; ``None`` if it draws or reads something anew for each batch."""

    def to(self, device: torch.device) -> Source:
        """The same source there."""


Data = Batch | Mapping[str, Any] | Source | Dataset
"""What a user may hand over as data."""


class InMemory:
    """A batch of all data points, as a source of smaller ones.

    Args:
        whole: all N data points.
    """

    is_uniform = True

    def __init__(self, whole: Batch) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return self.whole.size

    def batch(self, rows: Tensor) -> Batch:
        """The data points at ``rows``."""
        rows = rows.to(self.whole.device)
        chosen = self.whole.map(lambda value: value.index_select(0, rows))  # in a third of the time of value[rows]
        return chosen.as_models_read()


class WithSparse:
    """Data in memory of which some modalities are sparse matrices: their rows become dense when they are read.

    Args:
        data: ``{name: tensor, array or sparse matrix}``, some of them sparse.
        observed: ``{name: bool [N]}``.
        labels: ``[N, ...]``.
        covariates: ``{name: numbers [N]}``.

    Raises:
        ValueError: For data that does not fit together.
    """

    is_uniform = True

    def __init__(
        self,
        data: Mapping[str, Any],
        observed: Mapping[str, Any] | None = None,
        labels: Any = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> None:
        self._matrices = {name: as_csr(name, value) for name, value in data.items() if is_sparse(value)}
        places = {name: torch.arange(matrix.shape[0]) for name, matrix in self._matrices.items()}
        self._rest = Batch({**data, **places}, observed, labels, covariates)  # places stand for the rows of matrices

    def __len__(self) -> int:
        return self._rest.size

    def batch(self, rows: Tensor) -> Batch:
        """The data points at ``rows``, dense.

        Raises:
            ValueError: For values that are not finite.
        """
        chosen = InMemory(self._rest).batch(rows)
        for name, matrix in self._matrices.items():
            dense = dense_rows(name, matrix, rows).to(chosen.device)
            read = Batch({name: dense}, {name: chosen.observed[name]})
            chosen.data[name], chosen.observed[name] = read.data[name], read.observed[name]
            chosen.cells |= read.cells
            chosen.complete = chosen.complete and read.complete
        return chosen


class FromDataset:
    """A map-style dataset as a source of batches.

    Args:
        dataset: its items are dicts ``{name: tensor or array}`` without a batch dimension, in which a modality that is
            missing is ``None`` or left out; pairs of such a dict and a label; or :class:`~mmvae.Batch` objects.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def batch(self, rows: Tensor) -> Batch:
        """The items at ``rows``, collated."""
        return collate([self.dataset[row] for row in rows.tolist()]).as_models_read()


def as_source(
    data: Data,
    observed: Mapping[str, Any] | None = None,
    labels: Any = None,
    covariates: Mapping[str, Any] | None = None,
) -> Source:
    """Anything that holds multimodal data, as a source of batches.

    Args:
        data: a dict of tensors, arrays or sparse matrices ``[N, P]``, a :class:`~mmvae.Batch`, an object with
            ``__len__`` and
            ``batch(rows) -> Batch`` (such as :class:`mmvae.data.MultimodalDataset`), or a map-style dataset (see
            :class:`FromDataset`).
        observed: ``{name: bool [N]}``, for data in memory.
        labels: ``[N, ...]``, for data in memory.
        covariates: ``{name: numbers [N]}``, for data in memory.

    Raises:
        TypeError: for something else, or a mask or labels beside a dataset, which has its own.
    """
    if isinstance(data, Mapping) and any(map(is_sparse, data.values())):
        return WithSparse(data, observed, labels, covariates)
    if isinstance(data, Batch | Mapping):
        batch = Batch.of(data, observed, covariates)
        return InMemory(batch if labels is None else Batch(batch.data, batch.masks, labels, batch.covariates))
    if not (observed is None and labels is None and covariates is None):
        raise TypeError("observed, labels and covariates go with tensors; a dataset must yield its own, item by item.")
    if isinstance(data, Source):
        return data
    if isinstance(data, Dataset) and hasattr(data, "__len__") and not isinstance(data, IterableDataset):
        return FromDataset(data)
    advice = ""
    if isinstance(data, DataLoader):
        advice = " Only fit takes loaders: pass its dataset."
    elif isinstance(data, IterableDataset):
        advice = " Only fit takes streams: here rows are asked for by their numbers."
    raise TypeError(
        f"data: expected a dict of tensors, a Batch or a dataset with a length, got {type(data).__name__}.{advice}"
    )


@runtime_checkable
class HasParts(Protocol):
    """A source that makes one of some of its rows, as :class:`mmvae.data.MultimodalDataset` does."""

    def subset(self, rows: Tensor) -> Source:
        """The rows of these numbers, in this order."""


class SomeRows:
    """Chosen rows of another source.

    Args:
        source: N rows.
        rows: int64 ``[n]``, numbers of those that take part.
    """

    def __init__(self, source: Source, rows: Tensor) -> None:
        self.source, self.rows = source, rows
        self.is_uniform = is_uniform(source)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor) -> Batch:
        """The data points at ``rows``."""
        return self.source.batch(self.rows[rows.to(self.rows.device)])


def rows_of(source: Source, rows: Tensor) -> Source:
    """Chosen rows of a source, as one.

    Args:
        source: N rows.
        rows: int64 ``[n]``, their numbers.
    """
    if isinstance(source, InMemory):
        index = rows.to(source.whole.device)
        return InMemory(source.whole.map(lambda value: value.index_select(0, index)))
    return source.subset(rows) if isinstance(source, HasParts) else SomeRows(source, rows)


def steps_of(rows: int, batch_size: int) -> int:
    """Return how many batches so many rows make.

    The last batch takes a row more where one would be left over: layers such as batch norm cannot learn from one row.
    """
    whole, left = divmod(rows, batch_size)
    return whole + (left > 1 or (left == 1 and not whole))


def consecutive(source: Source, start: int, stop: int) -> Batch:
    """The data points from ``start`` to before ``stop``; of data in memory without a copy."""
    if isinstance(source, InMemory):
        whole = source.whole
        return (whole if (start, stop) == (0, whole.size) else whole[start:stop]).as_models_read()
    return source.batch(torch.arange(start, stop))


def as_batch(value: Any) -> Batch:
    """What a loader, or whatever makes batches, gives: a dict of tensors, a pair of it and labels, or a batch.

    Raises:
        TypeError: for something else.
    """
    if isinstance(value, Batch):
        return value
    if isinstance(value, Mapping):
        return Batch(value)
    if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], Mapping):
        return Batch(value[0], labels=value[1])
    raise TypeError(
        f"data: expected batches that are dicts of tensors, (dict, labels) pairs or mmvae.Batch objects, got "
        f"{type(value).__name__}; a DataLoader makes the last with collate_fn=mmvae.sources.collate."
    )


def collate(items: Sequence[Any]) -> Batch:
    """The items of a dataset as one batch; what an item lacks is marked as missing.

    Items that lack every modality make rows of which nothing is known, be it a whole batch of them.

    Raises:
        TypeError: for items that are neither dicts, pairs of a dict and a label, nor batches.
    """
    if isinstance(items[0], Batch):
        return Batch.cat(items)
    labels = None
    if isinstance(items[0], tuple) and len(items[0]) == 2 and isinstance(items[0][0], Mapping):
        items, labels = [item[0] for item in items], [item[1] for item in items]
        labels = None if all(label is None for label in labels) else labels
    if not isinstance(items[0], Mapping):
        raise TypeError(
            f"dataset: expected items that are dicts, (dict, label) pairs or mmvae.Batch objects, got "
            f'{type(items[0]).__name__}; modalities need names: {{"image": ..., "text": ...}}.'
        )
    names = dict.fromkeys(name for item in items for name in item)
    data: dict[str, Any] = {}
    for name in names:
        values = [item.get(name) for item in items]
        if any(value is not None for value in values):
            data[name] = values
    if not data:
        numbers, classes = (None, None) if labels is None else as_labels(labels)
        return Batch.trusted({}, labels=numbers, classes=classes, size=len(items))
    return Batch(data, labels=labels)
