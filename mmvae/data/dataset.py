"""The dataset: base data kept once, index tables that pair it, and whole batches by one gather per modality."""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from mmvae.batch import Batch
from mmvae.casting import as_tensor
from mmvae.data.mapped_rows import MappedRows
from mmvae.data.rows import Rows, Sampler, SparseRows, Stored
from mmvae.labels import Classes, as_labels
from mmvae.seeds import derive_seed, stream
from mmvae.sources import Blocks
from mmvae.sparse import is_sparse
from mmvae.subsets import canonical
from mmvae.transforms import spread


class MultimodalDataset(Dataset[Any]):
    """N data points in several modalities, as index tables into base data that is kept once.

    It is an ordinary PyTorch dataset, and it can also lie whole on a device and hand out batches by row numbers
    (:meth:`batch`), which is much faster than collating single items.

    Args:
        sources: by modality, a tensor or array ``[n, ...]`` of base data (bytes ``[n, C, H, W]`` are images in 0..255
            and become float32 in [0, 1] when read, other bytes are whole numbers), a sparse matrix ``[n, P]``, which
            stays sparse until its rows are read, :class:`~mmvae.data.Rows` of another kind, or a
            :class:`~mmvae.data.Sampler`, which draws from the labels anew at each access.
        index: by modality, int64 ``[N]``, the base row of each data point, which is its own number where the table is
            left out.
        labels: ``[N, ...]``, of the data points, in any form that :class:`~mmvae.Batch` takes; samplers need them, as
            integers.
        observed: by modality, bool ``[N]``, true where the datum is present. Names left out are present throughout,
            but for rows of base data that are NaN throughout.
        name: how tables call the dataset.
        sources_used: by modality, how tables call its source.
        notes: what a report must say about the data, a line each: which files were not found, what stands for them.
        seed: of the draws of the samplers.
        blocks: how training shuffles the data points, where they lie on a disc; by default by a full permutation.
        private_labels: Classes of what each modality has for itself, int64 ``{modality: [N]}``, for the metric
            ``disentanglement``.

    Attributes:
        names: the modalities.
        shapes: the shape of one datum, by modality.
        is_uniform: every batch holds all modalities, even one that none of its rows has observed.

    Raises:
        ValueError: for no modalities, numbers of rows that do not fit, rows out of range, or data that is NaN in part.
        TypeError: for an index that is not int64, a mask that is not boolean, or a source of the wrong kind.
    """

    is_uniform = True

    def __init__(
        self,
        sources: Mapping[str, Any],
        index: Mapping[str, Tensor] | None = None,
        labels: Any = None,
        observed: Mapping[str, Any] | None = None,
        *,
        name: str = "data",
        sources_used: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        seed: int = 0,
        blocks: Blocks | None = None,
        private_labels: Mapping[str, Int64[Tensor, "N"]] | None = None,
    ) -> None:
        self.name = name
        self.sources_used: dict[str, str] = dict.fromkeys(sources, name) | dict(sources_used or {})
        self.notes: tuple[str, ...] = tuple(notes)
        self.seed = seed
        self.blocks = blocks
        self._rows: dict[str, Rows] = {}
        self._samplers: dict[str, Sampler] = {}
        for modality, source in sources.items():
            if isinstance(source, Rows) and not isinstance(source, Tensor):
                self._rows[modality] = source
            elif isinstance(source, Sampler):
                self._samplers[modality] = source
            elif is_sparse(source):
                self._rows[modality] = SparseRows(modality, source)
            else:
                self._rows[modality] = Stored(modality, source)
        self.names: tuple[str, ...] = tuple(sources)
        self.labels: Tensor | None = None
        self.classes: Classes | None = None
        if labels is not None:
            self.labels, self.classes = as_labels(labels)
        self._index = checked_index(dict(index or {}), self._rows, self._samplers)
        self._size = common_size(self._rows, self._index, self.labels)
        self.shapes: dict[str, tuple[int, ...]] = {
            modality: self._rows[modality].shape if modality in self._rows else self._probe(modality)
            for modality in self.names
        }
        self.private_labels = dict(private_labels or {})
        for modality, classes in self.private_labels.items():
            if modality not in self.names or classes.shape != (self._size,):
                raise ValueError(
                    f"private_labels of {modality!r}: expected one of {', '.join(map(repr, self.names))} and shape "
                    f"{(self._size,)}, got shape {tuple(classes.shape)}."
                )
        self.observed: dict[str, Tensor] | None = None
        for modality, rows in self._rows.items():
            if isinstance(rows, Stored) and rows.present is not None:
                table = self._index.get(modality)
                self._hide({modality: rows.present if table is None else rows.present[table]})
        self._hide(
            {name: as_tensor(f"observed, the mask of {name!r}", mask)[0] for name, mask in (observed or {}).items()}
        )
        self._generators = {modality: stream(seed, "sampler", modality) for modality in self._samplers}
        self._worker: int | None = None

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        used = ", ".join(f"{modality}: {self.sources_used[modality]}" for modality in self.names)
        return f"MultimodalDataset({self.name!r}, {len(self)} data points, {used}, on {self.device})"

    @property
    def device(self) -> torch.device:
        """Where batches lie."""
        if self.labels is not None:
            return self.labels.device
        name, rows = next(iter(self._rows.items()))
        return self._index[name].device if name in self._index else rows.take(torch.empty(0, dtype=torch.int64)).device

    @property
    def bytes_in_memory(self) -> int | None:
        """How much the dataset takes where it lies; ``None`` where data is drawn or read anew for each batch."""
        if self._samplers or not all(isinstance(rows, Stored) for rows in self._rows.values()):
            return None
        tensors = [rows.values for rows in self._rows.values() if isinstance(rows, Stored)]
        tensors += [*self._index.values(), *(self.observed or {}).values()]
        tensors += [] if self.labels is None else [self.labels]
        return sum(each.numel() * each.element_size() for each in tensors)

    def batch(self, rows: Int64[Tensor, "B"] | Sequence[int]) -> Batch:
        """The data points of these rows, on the device of the dataset.

        Samplers draw anew at each call, in the order of the calls.

        Raises:
            IndexError: for a row outside 0..N-1 (on the CPU; elsewhere nothing is waited for).
            ValueError: for a row of :class:`~mmvae.data.MappedRows` that is infinite.
        """
        chosen = torch.as_tensor(rows, dtype=torch.int64).to(self.device, non_blocking=True)
        labels = None if self.labels is None else self.labels.index_select(0, chosen)
        data: dict[str, Tensor] = {}
        cells: dict[str, Tensor] = {}
        for name in self.names:
            if name in self._samplers:
                assert labels is not None  # the constructor demands labels where there is a sampler
                data[name] = self._samplers[name].draw(labels, self._generator(name))
            else:
                table, rows_of = self._index.get(name), self._rows[name]
                base = chosen if table is None else table.index_select(0, chosen)
                data[name] = rows_of.take(base)
                if isinstance(rows_of, Stored) and rows_of.cells is not None:
                    cells[name] = rows_of.cells.index_select(0, base)
        observed = self._observed(chosen, data, cells)
        if observed is None:
            return Batch.trusted(data, None, labels, cells=cells, classes=self.classes)
        for name, mask in observed.items():
            hole = torch.zeros((), dtype=data[name].dtype, device=mask.device)
            data[name] = torch.where(spread(mask, data[name]), data[name], hole)
        cells = {name: mask & spread(observed[name], mask) for name, mask in cells.items()}
        return Batch.trusted(data, observed, labels, cells=cells, classes=self.classes)

    def __getitem__(self, row: int) -> dict[str, Tensor] | tuple[dict[str, Tensor], Tensor]:
        """One data point: ``{name: tensor}`` without what is missing, as a pair with its label if there are labels.

        Single numbers that are missing are NaN.

        PyTorch's loaders collate such items with ``collate_fn=mmvae.sources.collate`` (or, as long as nothing is
        missing, with their own). Prefer :meth:`batch`.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} is outside a dataset of {len(self)} data points.")
        batch = self.batch([row % len(self)])
        present = {name: value[0] for name, value in batch.data.items() if bool(batch.observed[name])}
        for name, mask in batch.cells.items():
            if name in present:
                present[name] = torch.where(spread(mask, batch.data[name])[0], present[name], torch.nan)
        return present if batch.labels is None else (present, batch.labels[0])

    def everything(self, max_rows: int | None = None) -> Batch:
        """All data points as one batch, or the first ``max_rows`` of them."""
        return self.batch(torch.arange(len(self) if max_rows is None else min(max_rows, len(self))))

    def to(self, device: torch.device | str) -> MultimodalDataset:
        """The same dataset on another device, whole; its samplers go on from the same state, and draw the same."""
        target = torch.device(device)
        moved = self._copy()
        moved._rows = {name: rows.to(target) for name, rows in self._rows.items()}
        moved._index = {name: table.to(target) for name, table in self._index.items()}
        moved.labels = None if self.labels is None else self.labels.to(target)
        moved.private_labels = {name: classes.to(target) for name, classes in self.private_labels.items()}
        moved.observed = None if self.observed is None else {n: mask.to(target) for n, mask in self.observed.items()}
        return moved

    def subset(self, rows: Int64[Tensor, "n"] | Sequence[int]) -> MultimodalDataset:
        """The chosen data points, in this order, over the same base data; samplers draw from streams of their own.

        Raises:
            ValueError: if no row is chosen, or one is out of range.
        """
        chosen = torch.as_tensor(rows, dtype=torch.int64)
        if not len(chosen):
            raise ValueError(f"{self.name}: a subset needs at least one row.")
        if not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self):
            raise ValueError(f"{self.name}: rows of a subset lie in 0..{len(self) - 1}.")
        part = self._copy()
        digest = hashlib.sha256(chosen.cpu().numpy().tobytes()).hexdigest()
        part.seed = derive_seed(self.seed, "subset", digest)
        part._generators = {name: stream(part.seed, "sampler", name) for name in self._samplers}
        chosen = chosen.to(self.device)
        part._size = len(chosen)
        part._index = {name: self._index[name][chosen] if name in self._index else chosen for name in self._rows}
        part.labels = None if self.labels is None else self.labels[chosen]
        part.private_labels = {name: classes[chosen] for name, classes in self.private_labels.items()}
        part.observed = None if self.observed is None else {name: mask[chosen] for name, mask in self.observed.items()}
        return part

    def split(self, parts: Sequence[float] | Sequence[int], seed: int = 0) -> list[MultimodalDataset]:
        """Disjoint random parts, by fractions that add up to 1 or less, or by numbers of data points.

        Data points of different parts can share base data (an image that is paired several times). To hold out
        images, cut the images before they are paired: :meth:`LabelledImages.share`, or ``share=`` of the tasks.

        Raises:
            ValueError: for parts that are empty, or more than there is.
        """
        fractions = all(isinstance(part, float) for part in parts)
        edges = [0.0]
        for part in parts:
            edges.append(edges[-1] + part * (len(self) if fractions else 1))
        bounds = [round(edge) for edge in edges]
        if bounds[-1] > len(self) or any(stop <= start for start, stop in itertools.pairwise(bounds)):
            raise ValueError(
                f"{self.name}: cannot split {len(self)} data points into {list(parts)}; every part needs a data point, "
                f"fractions add up to at most 1 and numbers to at most {len(self)}."
            )
        order = torch.randperm(len(self), generator=stream(seed, "split"))
        return [self.subset(order[start:stop].sort().values) for start, stop in itertools.pairwise(bounds)]

    def with_observed(self, observed: Mapping[str, Tensor]) -> MultimodalDataset:
        """The dataset with modalities missing where these masks ``[N]`` are false, beside what is missing already.

        Raises:
            ValueError: for an unknown name or a mask of the wrong size, and if a row is left without any modality.
            TypeError: for a mask that is not boolean.
        """
        masked = self._copy()
        masked._hide(observed)
        return masked

    def restrict(self, names: str | Sequence[str]) -> MultimodalDataset:
        """The dataset with these modalities alone.

        Raises:
            ValueError: for an unknown name, and if a row is left without any modality; choose others by subset() first.
        """
        part = self._copy()
        part.names = canonical(names, self.names)

        def kept(table: Mapping[str, Any] | None) -> dict[str, Any]:
            return {name: value for name, value in (table or {}).items() if name in part.names}

        part._rows, part._samplers = kept(self._rows), kept(self._samplers)
        part._index, part._generators = kept(self._index), kept(part._generators)
        part.shapes, part.sources_used = kept(self.shapes), kept(self.sources_used)
        part.private_labels = kept(self.private_labels)
        part.observed = None
        part._hide(kept(self.observed))
        return part

    def drawn_once(self) -> MultimodalDataset:
        """The dataset with every sampler drawn once and kept, so that two looks see the same: for evaluation.

        The draws are those that this dataset would make next; it is not advanced itself.
        """
        fixed = self._copy()
        for name, sampler in self._samplers.items():
            assert self.labels is not None  # the constructor demands labels where there is a sampler
            fixed._rows[name] = Stored(name, sampler.draw(self.labels, fixed._generators[name]))
        fixed._samplers, fixed._generators = {}, {}
        return fixed

    def state_dict(self) -> dict[str, Tensor]:
        """The states of the samplers' generators, uint8 tensors by modality: what exact resumption needs."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the draws where :meth:`state_dict` was called.

        Raises:
            ValueError: if the states are not those of this dataset's samplers.
        """
        if set(state) != set(self._generators):
            raise ValueError(
                f"{self.name}: the state is of the samplers {sorted(state)}, but this dataset has "
                f"{sorted(self._generators)}."
            )
        for name, value in state.items():
            self._generators[name].set_state(value.cpu())

    def _copy(self) -> MultimodalDataset:
        """A shallow copy that shares the data and nothing that changes."""
        other = copy.copy(self)
        other._rows, other._samplers = dict(self._rows), dict(self._samplers)
        other._generators = {name: torch.Generator() for name in self._generators}
        for name, generator in self._generators.items():
            other._generators[name].set_state(generator.get_state())
        return other

    def _generator(self, name: str) -> torch.Generator:
        """The generator of a sampler; in a worker process of a loader, one of its own, or all would draw alike."""
        worker = get_worker_info()
        if worker is not None and self._worker != worker.seed:
            self._worker = worker.seed
            self._generators = {name: stream(worker.seed, "sampler", name) for name in self._samplers}
        return self._generators[name]

    def _observed(self, chosen: Tensor, data: dict[str, Tensor], cells: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """The masks of these rows; of data that is read only now, what is NaN is found, and filled, here."""
        unread = [name for name, rows in self._rows.items() if isinstance(rows, MappedRows) and rows.is_floating]
        if self.observed is not None:
            masks = {name: mask.index_select(0, chosen) for name, mask in self.observed.items()}
        elif unread:
            masks = dict.fromkeys(self.names, torch.ones(len(chosen), dtype=torch.bool, device=chosen.device))
        else:
            return None
        for name in unread:
            found = checked(name, data[name], masks[name], chosen)
            data[name], masks[name] = found.data[name], found.observed[name]
            cells |= found.cells
        is_complete = self.observed is None and all(bool(masks[name].all()) for name in unread)
        return None if is_complete else masks

    def _hide(self, observed: Mapping[str, Tensor]) -> None:
        """Joins these masks to those there are."""
        if observed:
            self.observed = joined_masks(self.observed, observed, self.names, len(self), self.device)

    def _probe(self, name: str) -> tuple[int, ...]:
        """The shape of a sampler's datum; draws once for every label there is, from a generator that is thrown away."""
        labels = self.labels
        if labels is None or labels.dtype != torch.int64 or labels.ndim != 1:
            raise ValueError(f"{name}: a sampler draws from the labels; pass labels=, int64 of shape [N].")
        present = labels.unique()
        try:
            if int(present[0]) < 0:
                raise IndexError("labels are numbers from 0 on")
            return tuple(self._samplers[name].draw(present, torch.Generator()).shape[1:])
        except IndexError as error:
            raise ValueError(f"{name}: the sampler cannot draw for the labels {present.tolist()}: {error}.") from error


def joined_masks(
    first: Mapping[str, Tensor] | None,
    second: Mapping[str, Tensor],
    names: Sequence[str],
    size: int,
    device: torch.device,
) -> dict[str, Tensor] | None:
    """Masks that are true where both are; ``None`` if nothing is missing.

    Raises:
        ValueError: for an unknown name or a mask of the wrong size, and if a row is left without any modality.
        TypeError: for a mask that is not boolean.
    """
    everything = torch.ones(size, dtype=torch.bool, device=device)
    masks = dict.fromkeys(names, everything) if first is None else dict(first)
    for name, mask in second.items():
        if name not in masks:
            raise ValueError(f"observed: a mask for {name!r}, but the dataset has {', '.join(map(repr, names))}.")
        if mask.dtype != torch.bool:
            raise TypeError(f"observed: the mask of {name!r} must be boolean, got {mask.dtype}; try mask.bool().")
        if mask.shape != (size,):
            raise ValueError(f"observed: the mask of {name!r} must have shape ({size},), got {tuple(mask.shape)}.")
        masks[name] = masks[name] & mask.to(device)
    table = torch.stack([masks[name] for name in names])
    empty = ~table.any(0)
    if bool(empty.any()):
        raise ValueError(
            f"observed: {int(empty.sum())} rows (the first is {int(empty.nonzero()[0])}) have no modality at all; "
            f"leave them out with subset()."
        )
    return None if bool(table.all()) else masks


def checked_index(
    index: dict[str, Tensor], rows: Mapping[str, Rows], samplers: Mapping[str, Sampler]
) -> dict[str, Tensor]:
    """The base rows of each data point, as they are, if they fit.

    Raises:
        ValueError: for a table of a sampler or an unknown modality, or rows out of range.
        TypeError: for a table that is not int64 ``[N]``.
    """
    for name, table in index.items():
        if name in samplers:
            raise ValueError(f"{name}: a sampler draws from the labels and takes no index.")
        if name not in rows:
            raise ValueError(f"index: a table for {name!r}, but the dataset has {', '.join(map(repr, rows))}.")
        if table.dtype != torch.int64 or table.ndim != 1:
            raise TypeError(f"{name}: the index must be int64 of shape [N], got {table.dtype} {tuple(table.shape)}.")
        if len(table) and not 0 <= int(table.min()) <= int(table.max()) < len(rows[name]):
            raise ValueError(f"{name}: the index must lie in 0..{len(rows[name]) - 1}, the rows of the base data.")
    return index


def common_size(rows: Mapping[str, Rows], index: Mapping[str, Tensor], labels: Tensor | None) -> int:
    """N.

    Raises:
        ValueError: for different numbers of data points, or none.
    """
    sizes = {name: len(index[name]) if name in index else len(base) for name, base in rows.items()}
    if labels is not None:
        sizes["labels"] = len(labels)
    if not sizes:
        raise ValueError("no data: name at least one modality.")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"unequal numbers of data points: {sizes}; pair the base data with index=, or trim it.")
    size = next(iter(sizes.values()))
    if size == 0:
        raise ValueError("no data: every modality has zero data points.")
    return size


def checked(name: str, values: Tensor, observed: Tensor, points: Tensor) -> Batch:
    """Values that were just read as a batch, in which what is masked, or NaN, is missing.

    Args:
        name: of the modality.
        values: ``[B, ...]``.
        observed: bool ``[B]``, what is known of them.
        points: int64 ``[B]``, the numbers of the data points, for errors.

    Raises:
        ValueError: for a row that is infinite.
    """
    if not len(values):
        return Batch.trusted({name: values}, {name: observed})
    try:
        return Batch({name: values}, {name: observed})
    except ValueError as error:
        fault = observed & values.reshape(len(values), -1).isinf().any(1)
        number = int(points[fault.nonzero()[0]])
        raise ValueError(f"{error} The first of them is data point {number}.") from error
