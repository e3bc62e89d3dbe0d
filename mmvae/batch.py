"""A batch of multimodal data, with a record of what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from mmvae.casting import are_grey_levels, as_models_read, as_tensor
from mmvae.labels import Classes, as_labels, joined_classes, renumbered
from mmvae.subsets import Subset, canonical
from mmvae.transforms import spread


@runtime_checkable
class Form(Protocol):
    """What a model asks of the data of a modality; every likelihood is one."""

    @property
    def hole(self) -> float | Tensor | None:
        """Placeholder for missing values, one or one a column. It is masked and never affects a result.

        ``None``: one that is observed.
        """

    def conform(self, name: str, data: Tensor) -> Tensor:
        """The data, ``[N, ...]``, checked and in the type that the model computes with."""

    # A form that also has ``inputs(data, observed)`` says what the encoder of its modality is called with, from data
    # that conforms and what is observed of it (``None``: all), as a tuple of arguments.


class Batch:
    """N data points in up to M modalities, and which of them were observed.

    Whatever stands under a false mask is replaced by zeros here, once, so that it can reach no number later.

    Args:
        data: ``{name: tensor or array [N, *shape]}``, in any form that :func:`mmvae.casting.as_tensor` takes. Models
            read bytes ``[N, C, H, W]`` as grey levels in [0, 1], and other bytes as whole numbers. A number that is
            NaN, or that a numpy mask hides, is missing; a row without any number is missing as a whole. ``None`` in the
            place of data asks the Pyro program ``model(batch)`` to draw that modality;
            everything else treats it as missing.
        observed: ``{name: bool [N]}``, true where the datum is present. Names left out are observed throughout. A mask
            without data, for a modality that is missing in every row, must be false throughout. A mask with further
            dimensions of the data, ``bool [N, T]`` of the steps of a sequence ``[N, T, ...]`` or ``bool [N, *shape]``
            of single numbers, says what there is of a row; a row without any of it is missing. Models say whether they
            take rows in part.
        labels: classes, names of classes or targets of the data points, in any form that
            :func:`mmvae.labels.as_labels` takes; ``None`` and -1 stand for a class that is not known. Models do not
            look at them unless they are classifiers.
        covariates: ``{name: numbers [N]}``, what is known of every row and never inferred; one number stands for all
            rows.

    Attributes:
        data: ``{name: tensor [N, *shape]}``, holes filled with zeros.
        observed: ``{name: bool tensor [N]}``, one entry for each name in ``data``.
        cells: ``{name: bool tensor [N, T] or [N, *shape]}``, what there is of a row, one entry for each modality of
            which rows are there in part. Dimensions that the mask lacks are there, or missing, as a whole.
        labels: tensor ``[N, ...]``, or ``None``.
        classes: names of the classes that ``labels`` numbers, or ``None`` where they came as numbers.
        covariates: ``{name: tensor [N]}``.
        context: the covariates as networks read them, ``[N, C]``, once a model has encoded them; otherwise ``None``.
        size: N.
        complete: whether every modality in ``data`` is observed in every row.
        drawn: the modalities that were given as ``None``.
        absent: the modalities that were given by a mask alone.

    Raises:
        ValueError: if there is no data, sizes differ, a value is infinite, or the mask does not fit the data.
        TypeError: if something is no tensor or array.
    """

    __slots__ = (
        "absent",
        "cells",
        "classes",
        "complete",
        "conforms_to",
        "context",
        "covariates",
        "data",
        "drawn",
        "labels",
        "observed",
        "size",
    )

    def __init__(
        self,
        data: Mapping[str, Any],
        observed: Mapping[str, Any] | None = None,
        labels: Any = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(data, Mapping):
            raise TypeError(f"data: expected a dict from modality names to tensors, got {type(data).__name__}.")
        if not data:
            raise ValueError("no data: the dict of modalities is empty.")
        self.drawn: tuple[str, ...] = tuple(name for name, value in data.items() if value is None)
        parts = {name: _tensor(name, value) for name, value in data.items() if value is not None}
        tensors = {name: tensor for name, (tensor, _) in parts.items()}
        if not tensors:
            raise ValueError("no data: every modality is None.")
        sizes = {name: len(value) for name, value in tensors.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"unequal batch sizes: {sizes}; every modality needs the same number of rows.")
        self.size: int = next(iter(sizes.values()))
        if self.size == 0:
            raise ValueError("no data: every modality has zero rows.")
        masks = _masks(observed or {}, tensors, self.size)
        self.absent: tuple[str, ...] = tuple(name for name in observed or {} if name not in tensors)
        self.data: dict[str, Tensor] = {}
        self.observed: dict[str, Tensor] = {}
        self.cells: dict[str, Tensor] = {}
        for name, value in tensors.items():
            mask = _present(name, value, masks[name], parts[name][1])
            self.data[name], self.observed[name] = _filled(value, mask), _rows(mask)
            if mask.ndim > 1:
                self.cells[name] = mask
        self.labels: Tensor | None = None
        self.classes: Classes | None = None
        if labels is not None:
            self.labels, self.classes = as_labels(labels)
            rows = len(self.labels) if self.labels.ndim else 0
            if rows != self.size:
                raise ValueError(f"labels: expected {self.size} rows as in the data, got {rows}.")
        device = next(iter(self.data.values())).device
        self.covariates: dict[str, Tensor] = {
            name: _covariate(name, value, self.size).to(device) for name, value in (covariates or {}).items()
        }
        self.context: Tensor | None = None
        self.complete: bool = all(bool(mask.all()) for mask in self.observed.values())
        self.conforms_to: object | None = None

    @classmethod
    def trusted(
        cls,
        data: dict[str, Tensor],
        observed: dict[str, Tensor] | None = None,
        labels: Tensor | None = None,
        *,
        cells: dict[str, Tensor] | None = None,
        drawn: tuple[str, ...] = (),
        absent: tuple[str, ...] = (),
        classes: Classes | None = None,
        covariates: dict[str, Tensor] | None = None,
        context: Tensor | None = None,
        conforms_to: object | None = None,
        size: int | None = None,
    ) -> Batch:
        """A batch of tensors that are known to be sound, without looking at them (no device is waited for).

        ``observed=None`` states that nothing is missing. Without data, ``size`` says how many rows there are, of which
        nothing is known.
        """
        batch = cls.__new__(cls)
        batch.data = data
        batch.complete = observed is None and bool(data)
        if data:
            first = next(iter(data.values()))
            batch.size = first.shape[0]  # which an export may leave open, as it may not a length
            if observed is None:
                everything = torch.ones(batch.size, dtype=torch.bool, device=first.device)
                observed = dict.fromkeys(data, everything)
        else:
            batch.size = size or 0
            observed = {}
        batch.observed = observed
        batch.cells = cells or {}
        batch.labels = labels
        batch.classes = classes
        batch.drawn = drawn
        batch.absent = absent
        batch.covariates = covariates or {}
        batch.context = context
        batch.conforms_to = conforms_to
        return batch

    def derive(
        self,
        data: dict[str, Tensor],
        observed: dict[str, Tensor] | None,
        *,
        cells: dict[str, Tensor] | None = None,
        conforms_to: object | None = None,
    ) -> Batch:
        """Other data of the same rows, known to be sound; labels and covariates stay.

        Args:
            data: ``{name: tensor [N, *shape]}``.
            observed: ``{name: bool [N]}``; ``None`` states that nothing is missing.
            cells: ``{name: bool [N, T] or [N, *shape]}``.
            conforms_to: the forms of the model that the data conforms to.
        """
        return Batch.trusted(
            data,
            observed,
            self.labels,
            cells=cells,
            drawn=self.drawn,
            absent=self.absent,
            classes=self.classes,
            covariates=self.covariates,
            context=self.context,
            conforms_to=conforms_to,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities that the batch holds."""
        return tuple(self.data)

    @property
    def masks(self) -> dict[str, Tensor]:
        """What is observed, as the constructor takes it: within rows where that is known, otherwise of rows."""
        return {**self.observed, **self.cells}

    @property
    def steps(self) -> dict[str, Tensor]:
        """Those of :attr:`cells` that mark whole steps of sequences, ``bool [N, T]``."""
        return {name: mask for name, mask in self.cells.items() if mask.ndim == 2}

    def present(self, name: str) -> Tensor | None:
        """What is observed of a modality: bool ``[N]``, or with further dimensions; ``None`` if all of it is."""
        if name in self.cells:
            return self.cells[name]
        return None if self.complete else self.observed[name]

    def inputs(self, name: str) -> tuple[Tensor, ...]:
        """What the encoder of a modality is called with: the data as the model's form of it shows it.

        A batch that conforms to no model shows its data as it is.
        """
        forms = cast("Mapping[str, Form] | nn.ModuleDict | None", self.conforms_to)
        form = None if forms is None else forms[name]
        show = getattr(form, "inputs", None)  # isinstance of a protocol would take longer than the form does
        return (self.data[name],) if show is None else show(self.data[name], self.present(name))

    @property
    def device(self) -> torch.device:
        """Where the data lies; the CPU, if there is none."""
        return next((value.device for value in self.data.values()), torch.device("cpu"))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, rows: Tensor | slice | Sequence[int]) -> Batch:
        """The chosen rows, of every modality."""
        index: Any = rows if isinstance(rows, slice | Tensor) else torch.as_tensor(rows)
        return self.map(lambda value: value[index])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device (itself, if it lies there already)."""
        device = torch.device(device)
        if self.device == device or (self.device.type == device.type and device.index is None):
            return self

        def move(value: Tensor) -> Tensor:
            return value.to(device, non_blocking=non_blocking)

        return self.map(move)

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor changed alike: other rows of it, or another device.

        Args:
            change: From a tensor ``[N, ...]`` to another one.
        """
        return Batch.trusted(
            {name: change(value) for name, value in self.data.items()},
            None if self.complete else {name: change(mask) for name, mask in self.observed.items()},
            None if self.labels is None else change(self.labels),
            cells={name: change(mask) for name, mask in self.cells.items()},
            drawn=self.drawn,
            absent=self.absent,
            classes=self.classes,
            covariates={name: change(value) for name, value in self.covariates.items()},
            context=None if self.context is None else change(self.context),
            conforms_to=self.conforms_to,
            size=None if self.data else len(change(torch.zeros(self.size))),
        )

    def restrict(self, subset: Subset) -> Batch:
        """The batch with the members of ``subset`` alone, in the order in which the batch holds them.

        Raises:
            ValueError: if the batch does not hold a member of the subset, or a row has none of them observed.
        """
        names = self.names if subset is None else (subset,) if isinstance(subset, str) else tuple(subset)
        absent = [name for name in names if name not in self.data]
        if absent:
            raise ValueError(
                f"subset: the batch holds no data for {', '.join(map(repr, absent))}; it holds "
                f"{', '.join(map(repr, self.names))}. Ask for a subset of those, or add the missing data."
            )
        members = canonical(names, self.names)
        observed = None if self.complete else {name: self.observed[name] for name in members}
        cells = {name: mask for name, mask in self.cells.items() if name in members}
        data = {name: self.data[name] for name in members}
        batch = self.derive(data, observed, cells=cells, conforms_to=self.conforms_to)
        if observed is not None:
            batch.complete = bool((_counts(observed, self.size) == len(members)).all())
        return batch

    def as_models_read(self) -> Batch:
        """The batch with images in bytes as float32 in [0, 1] (see :func:`mmvae.casting.are_grey_levels`)."""
        if not any(map(are_grey_levels, self.data.values())):
            return self
        batch = self.map(lambda value: value)
        batch.data = {name: as_models_read(value) for name, value in self.data.items()}
        return batch

    def in_classes(self, classes: Classes | None) -> Batch:
        """The batch with its named classes in another numbering; those that it lacks are not known."""
        if classes is None or self.classes in (None, classes) or self.labels is None:
            return self
        batch = self.map(lambda value: value)
        batch.labels = renumbered(self.labels, cast("Classes", self.classes), classes)
        batch.classes = classes
        return batch

    def conform(self, shapes: Mapping[str, tuple[int, ...] | None], forms: Mapping[str, Form] | nn.ModuleDict) -> Batch:
        """The batch in the form that a model computes with: checked, and of its data types.

        Args:
            shapes: of one datum of each modality of the model, in its order; ``None`` where any shape will do.
            forms: ``{name: form}``; each checks and casts the values of its modality.

        Raises:
            ValueError: for data or a mask under an unknown name, a wrong shape, values that the form does not take, or
                a row in which nothing is observed.
            TypeError: for a data type that the form does not take.
        """
        if self.conforms_to is forms:
            return self
        for what, names in (("data", (*self.data, *self.drawn)), ("observed", self.absent)):
            for name in names:
                if name not in shapes:
                    raise ValueError(
                        f"{what}: {name!r} is no modality of this model, which has {', '.join(map(repr, shapes))}."
                    )
        for name, value in self.data.items():
            shape = shapes[name]
            if shape is not None and tuple(value.shape[1:]) != shape:
                raise ValueError(_wrong_shape(name, shape, tuple(value.shape)))
        if not self.complete:
            _counts(self.observed, self.size, shapes)
        known = cast("Mapping[str, Form]", dict(forms.items()))
        held = [name for name in shapes if name in self.data and self._can_fill(name, known[name])]
        batch = self.derive(
            {name: self._conformed(name, known[name]) for name in held},
            None if self.complete else {name: self.observed[name] for name in held},
            cells={name: self.cells[name] for name in held if name in self.cells},
            conforms_to=forms,
        )
        batch.absent = ()
        return batch

    def _conformed(self, name: str, form: Form) -> Tensor:
        """The data of a modality, checked and cast by its form."""
        value = self._with_holes_of(name, form)
        if not are_grey_levels(self.data[name]):
            return form.conform(name, value)
        try:
            return form.conform(name, value)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"{error} Bytes [N, C, H, W] are read as grey levels in [0, 1]; convert counts and codes with x.long()."
            ) from error

    def _with_holes_of(self, name: str, form: Form) -> Tensor:
        """The data of a modality, with a value that its form takes where a datum is missing.

        Zero may have no density. The masked log-density would be dropped, but its gradient is NaN times zero.
        """
        value = as_models_read(self.data[name])
        if is_zero(form.hole) or (self.complete and name not in self.cells):
            return value
        present = spread(self.masks[name], value)
        if form.hole is not None:
            return torch.where(present, value, torch.as_tensor(form.hole, dtype=value.dtype, device=value.device))
        first = present.int().argmax(0, keepdim=True)  # of each column a value that it has, if it has any
        hole = torch.where(present.any(0), value.gather(0, first)[0], value[present][0])
        return torch.where(present, value, hole)

    def _can_fill(self, name: str, form: Form) -> bool:
        """Whether there is a value for the rows that lack a modality; where no row has one it is left out."""
        return self.complete or form.hole is not None or bool(self.observed[name].any())

    @staticmethod
    def of(
        data: Batch | Mapping[str, Any],
        observed: Mapping[str, Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> Batch:
        """``data`` as a batch, in which whatever is masked there, or here, is missing; covariates given here win."""
        if isinstance(data, Batch):
            if observed is None and covariates is None:
                return data
            known = {**data.covariates, **(covariates or {})}
            both = Batch({**data.data, **dict.fromkeys(data.drawn)}, observed, data.labels, known)
            both.classes = data.classes
            for name, mask in data.observed.items():
                both.observed[name] = both.observed[name] & mask  # what was missing before holds zeros, and stays so
            for name, mask in data.cells.items():
                both.cells[name] = _both(both.cells[name], mask, both.data[name]) if name in both.cells else mask
            both.cells = {n: _both(both.observed[n], mask, both.data[n]) for n, mask in both.cells.items()}
            both.observed.update({name: _rows(mask) for name, mask in both.cells.items()})
            both.data.update({name: _filled(both.data[name], mask) for name, mask in both.cells.items()})
            both.complete = all(bool(mask.all()) for mask in both.observed.values())
            both.absent = tuple(dict.fromkeys((*data.absent, *both.absent)))
            return both
        return Batch(data, observed, covariates=covariates)

    @staticmethod
    def cat(batches: Iterable[Batch]) -> Batch:
        """The rows of several batches, one below the other; a modality that some do not hold is missing there."""
        parts = list(batches)
        first = parts[0]
        classes = joined_classes([part.classes for part in parts if part.labels is not None])
        data, observed = {}, {}
        for name, example in {name: value for part in parts for name, value in part.data.items()}.items():
            data[name] = torch.cat(
                [
                    part.data[name] if name in part.data else example.new_zeros(len(part), *example.shape[1:])
                    for part in parts
                ]
            )
            observed[name] = torch.cat(
                [part.observed.get(name, example.new_zeros(len(part), dtype=torch.bool)) for part in parts]
            )
        complete = all(part.complete and len(part.names) == len(data) for part in parts)
        labels = _labels([part.in_classes(classes) for part in parts])
        conforms_to = first.conforms_to if complete else None  # zeros stand in the new holes
        absent = tuple(dict.fromkeys(name for part in parts for name in part.absent if name not in data))
        return Batch.trusted(
            data,
            None if complete else observed,
            labels,
            cells=_cells(parts, data),
            absent=absent,
            classes=classes,
            covariates={name: torch.cat([part.covariates[name] for part in parts]) for name in first.covariates},
            context=None if first.context is None else torch.cat([part.context for part in parts]),  # type: ignore[misc]
            conforms_to=conforms_to,
        )


def is_zero(hole: float | Tensor | None) -> bool:
    """Whether the placeholder of a form is zero throughout, as a batch fills missing values by itself."""
    return not isinstance(hole, Tensor) and hole == 0


def _labels(parts: Sequence[Batch]) -> Tensor | None:
    """The labels of several batches, one below the other; unknown where a batch has none."""
    given = [part.labels for part in parts if part.labels is not None]
    if not given:
        return None
    example = given[0]
    unknown = torch.nan if any(labels.is_floating_point() for labels in given) else -1
    return torch.cat(
        [
            example.new_full((len(part), *example.shape[1:]), unknown, dtype=torch.result_type(example, unknown))
            if part.labels is None
            else part.labels
            for part in parts
        ]
    )


def _cells(parts: Sequence[Batch], data: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks within rows of several batches, one below the other; a batch without one has all of its rows."""
    joined = {}
    for name in dict.fromkeys(name for part in parts for name in part.cells):
        nothing = torch.zeros((), dtype=torch.bool, device=data[name].device)
        masks = [part.masks.get(name, nothing.expand(len(part))) for part in parts]
        widest = max(mask.ndim for mask in masks)
        shape = data[name].shape[1:widest]
        joined[name] = torch.cat([_wider(mask, widest).expand(len(mask), *shape) for mask in masks])
    return joined


def _tensor(name: str, value: Any) -> tuple[Tensor, Tensor | None]:
    """Data as a tensor, and where its own mask says that it is present."""
    if not isinstance(name, str):
        raise TypeError(f"data: modality names are strings, got {name!r}.")
    tensor, there = as_tensor(name, value)
    if tensor.ndim == 0:
        raise ValueError(f"{name}: expected rows of data, got a single number; add a batch dimension.")
    return tensor, there


def _present(name: str, value: Tensor, mask: Tensor | None, there: Tensor | None) -> Tensor:
    """Where a modality is there: bool ``[N]``, or with further dimensions where rows are there in part.

    Args:
        name: Name of the modality.
        value: Its data, ``[N, *shape]``.
        mask: What was said beside the data, bool ``[N]`` or with further dimensions.
        there: What the data itself says, likewise.

    Raises:
        ValueError: For infinite values that are not masked.
    """
    present = torch.ones(len(value), dtype=torch.bool, device=value.device) if mask is None else mask
    if there is not None:
        present = _both(present, _narrowed(there.to(value.device)), value)
    if not value.is_floating_point() or bool((finite := value.detach().isfinite()).all()):
        return present
    nan = value.detach().isnan()
    infinite = spread(present, value) & ~finite & ~nan
    if bool(infinite.any()):
        rows = infinite.reshape(len(value), -1).any(1)
        raise ValueError(
            f"{name}: row {int(rows.nonzero()[0])} holds infinite values ({int(rows.sum())} such rows); clip or "
            f"replace them."
        )
    if not bool((spread(present, value) & nan).any()):
        return present
    return _both(present, _narrowed(~nan | ~spread(present, value)), value)


def _narrowed(mask: Tensor) -> Tensor:
    """The mask without its last dimensions, as far as it is the same along them: of rows, of steps, or of numbers."""
    while mask.ndim > 1 and bool((mask == mask[..., :1]).all()):
        mask = mask[..., 0]
    return mask


def _both(one: Tensor, other: Tensor, value: Tensor) -> Tensor:
    """Where two masks of the same data are both true, in the finer dimensions of the two."""
    widest = max(one.ndim, other.ndim)
    both = _wider(one, widest) & _wider(other, widest)
    return both.expand(value.shape[:widest])


def _wider(mask: Tensor, ndim: int) -> Tensor:
    return mask.reshape(*mask.shape, *(1,) * (ndim - mask.ndim))


def _rows(mask: Tensor) -> Tensor:
    """The rows of which something is there."""
    return mask if mask.ndim == 1 else mask.reshape(len(mask), -1).any(1)


def _filled(value: Tensor, mask: Tensor) -> Tensor:
    """The data with zeros where the mask is false."""
    if bool(mask.all()):
        return value
    return torch.where(spread(mask, value), value, torch.zeros((), dtype=value.dtype, device=value.device))


def _covariate(name: str, value: Any, size: int) -> Tensor:
    """A covariate of every row, ``[N]``."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"covariates: {name!r} must be numbers, got {type(value).__name__}.") from error
    if tensor.ndim == 0:
        tensor = tensor.expand(size)
    if tensor.shape != (size,):
        raise ValueError(
            f"covariates: {name!r} must have one number for each of the {size} rows, got shape {tuple(tensor.shape)}."
        )
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        row = int((~tensor.isfinite()).nonzero()[0])
        raise ValueError(
            f"covariates: {name!r} is {float(tensor[row])} in row {row}; covariates are known for every row. Fill "
            f"the value in, or leave the row out."
        )
    return tensor


def _masks(observed: Mapping[str, Any], tensors: Mapping[str, Tensor], size: int) -> dict[str, Tensor | None]:
    if not isinstance(observed, Mapping):
        raise TypeError(f"observed: expected a dict of boolean masks, got {type(observed).__name__}.")
    masks: dict[str, Tensor | None] = dict.fromkeys(tensors)
    for name, value in observed.items():
        if value is None:  # observed throughout, as if the name were left out
            continue
        mask, _ = as_tensor(f"observed, the mask of {name!r}", value)
        if name not in tensors:
            if not mask.any():  # a modality that is wholly missing may be masked and left out of the data
                continue
            raise ValueError(f"observed: a mask for {name!r}, but the data holds {', '.join(map(repr, tensors))}.")
        if mask.dtype != torch.bool:
            raise TypeError(f"observed: the mask of {name!r} must be boolean, got {mask.dtype}; try mask.bool().")
        whole = tuple(tensors[name].shape)
        if not mask.ndim or tuple(mask.shape) != whole[: mask.ndim]:
            or_steps = f", or {whole[:2]} for its steps" if len(whole) > 1 else ""
            or_numbers = f", or {whole} for single numbers" if len(whole) > 2 else ""
            raise ValueError(
                f"observed: the mask of {name!r} must have shape ({size},){or_steps}{or_numbers}, got "
                f"{tuple(mask.shape)}."
            )
        masks[name] = mask.to(tensors[name].device)
    return masks


def _counts(observed: Mapping[str, Tensor], size: int, names: Iterable[str] = ()) -> Tensor:
    """How many modalities each row has, ``[N]``; an error if one has none.

    Args:
        observed: ``{name: bool [N]}``.
        size: N.
        names: What the modalities are called where none is there.
    """
    counts = torch.stack(list(observed.values())).sum(0) if observed else torch.zeros(size, dtype=torch.int64)
    if bool((counts == 0).any()):
        rows = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(
            f"{len(rows)} rows (the first is {rows[0]}) have none of {', '.join(map(repr, observed or names))} "
            f'observed; leave those rows out, ask for a larger subset, or call mmvae.infer(missing="nan").'
        )
    return counts


def _wrong_shape(name: str, shape: tuple[int, ...], got: tuple[int, ...]) -> str:
    message = f"{name}: expected (N, {', '.join(map(str, shape))}), got {got}"
    if len(got) == 4 and len(shape) == 3 and got[1:] == (*shape[1:], shape[0]):
        return message + "; images are channels-first, try x.movedim(-1, 1)."
    if got == shape:
        return message + "; the batch dimension is missing, try x[None]."
    if len(got) == 3 and shape[:1] == (1,) and got[1:] == shape[1:]:
        return message + "; the channel is missing, try x[:, None]."
    return message + "; reshape the data, or change the shape of the modality."
