"""Labels in every form that people have them, and the classes among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from mmvae.casting import as_tensor

UNKNOWN = -1
"""Class of a row whose class is not known; every negative class means it."""

Classes = tuple[str, ...]
"""Names of classes; class i bears the name at place i."""


def as_labels(value: Any) -> tuple[Tensor, Classes | None]:
    """Return labels as numbers and, where they came as names, the names.

    Booleans and whole numbers of every type become int64, names the number of their place in the alphabet (of a
    categorical column of pandas: among its categories). ``None``, ``pandas.NA`` and masked entries become -1 beside
    whole numbers and names, NaN beside real numbers.

    Args:
        value: Labels of N rows: numbers in any form that :func:`mmvae.casting.as_tensor` takes, or N names.

    Returns:
        Tensor ``[N, ...]``, and the names of the classes or ``None``.

    Raises:
        TypeError: for names mixed with numbers, and what is neither.
        ValueError: for rows of different shapes.
    """
    names = _names(value)
    if names is not None:
        classes, codes = names
        return torch.from_numpy(codes), classes
    value, unknown = _without_unknown(value)
    tensor, there = as_tensor("labels", value)
    if tensor.dtype == torch.bool or not (tensor.is_floating_point() or tensor.is_complex()):
        tensor = tensor.long()
    if there is not None:
        unknown = ~there.to(tensor.device)
    if unknown is None:
        return tensor, None
    if tensor.ndim == 1 and _are_whole(tensor[~unknown]):
        return torch.where(unknown, UNKNOWN, tensor.long()), None
    tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    hidden = unknown.reshape(len(unknown), *(1,) * (tensor.ndim - 1)) if unknown.ndim == 1 else unknown
    return torch.where(hidden, torch.nan, tensor), None


def class_numbers(labels: Tensor | None) -> Int64[Tensor, "N"] | None:
    """Return the class of each row, -1 where it is unknown, on the CPU.

    Args:
        labels: Labels ``[N]`` or ``[N, 1]``. Classes are whole numbers of any type; NaN and negative numbers are
            unknown.

    Returns:
        int64 ``[N]``; ``None`` for labels that are no classes (real numbers with a fraction, several labels a row), and
        where no row has a class.
    """
    if labels is None or labels.is_complex():
        return None
    labels = labels.detach().cpu()
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        return None
    if labels.is_floating_point():
        known = ~labels.isnan()
        if not _are_whole(labels[known]):
            return None
        labels = torch.where(known, labels, float(UNKNOWN))
    numbers = labels.to(torch.int64).clamp(min=UNKNOWN)
    return numbers if bool((numbers >= 0).any()) else None


def known_labels(labels: Tensor | None) -> tuple[Tensor, Bool[Tensor, "N"]] | None:
    """Return labels for classifiers to be compared with, and in which rows they are known, on the CPU.

    Args:
        labels: Classes as :func:`class_numbers` takes them, or several labels a row, ``[N, C]``, of which NaN and
            negative ones are unknown.

    Returns:
        int64 ``[N]``, or the labels ``[N, C]``, and a mask ``[N]``; ``None`` for labels that are neither, and where
        none is known.
    """
    if labels is None or labels.is_complex() or labels.ndim not in (1, 2):
        return None
    if labels.ndim == 2:
        labels = labels.detach().cpu()
        known = (labels >= 0).all(1)  # which NaN is not
    else:
        numbers = class_numbers(labels)
        if numbers is None:
            return None
        labels, known = numbers, numbers >= 0
    return (labels, known) if bool(known.any()) else None


def renumbered(labels: Tensor, classes: Classes, target: Classes) -> Tensor:
    """Return the numbers of named classes in another numbering; those it lacks become -1."""
    place = {name: number for number, name in enumerate(target)}
    table = torch.tensor([*(place.get(name, UNKNOWN) for name in classes), UNKNOWN], device=labels.device)
    return table[labels]  # -1 finds the last entry


def joined_classes(numberings: Sequence[Classes | None]) -> Classes | None:
    """Return one numbering for several sets of labels: that which all share, otherwise all names by the alphabet.

    Raises:
        ValueError: if some labels are names and others numbers.
    """
    distinct = set(numberings)
    if len(distinct) <= 1:
        return next(iter(distinct), None)
    if None in distinct:
        raise ValueError("labels: some are names of classes and others numbers; give all of them in one form.")
    return tuple(sorted({name for classes in distinct for name in classes or ()}))


def _are_whole(values: Tensor) -> bool:
    if not values.is_floating_point():
        return not values.is_complex()
    return bool((values.isfinite() & (values == values.round()) & (values.abs() < 2**53)).all())


def _names(value: Any) -> tuple[Classes, np.ndarray] | None:
    """The classes and the place of each row's among them, where labels are names."""
    kind = getattr(value, "dtype", None)
    if isinstance(value, Tensor) or (isinstance(kind, np.dtype) and kind.kind in "biufc"):
        return None
    categories = getattr(kind, "categories", None)
    if categories is not None:  # a categorical column
        if not all(isinstance(each, str) for each in categories):
            return None
        codes = value.cat.codes if hasattr(value, "cat") else value.codes
        return tuple(categories), np.array(codes, dtype=np.int64)
    if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "USO":
        names = np.ma.getdata(value).astype(object)
        names[np.ma.getmaskarray(value)] = None
        value = names
    items = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(items, list | tuple) or not any(isinstance(each, str | bytes) for each in items):
        return None
    given = [each.decode() if isinstance(each, bytes) else None if _is_unknown(each) else each for each in items]
    odd = next((each for each in given if not isinstance(each, str | None)), None)
    if odd is not None:
        raise TypeError(f"labels: some are names and others are not ({odd!r}); give all of them in one form.")
    classes = tuple(sorted({each for each in given if each is not None}))
    place = {name: number for number, name in enumerate(classes)}
    return classes, np.array([UNKNOWN if each is None else place[each] for each in given], dtype=np.int64)


def _without_unknown(value: Any) -> tuple[Any, Tensor | None]:
    """Labels, one a row, with a number in the place of what is unknown, and where that is."""
    if isinstance(value, Tensor | np.ma.MaskedArray):
        return value, None
    if not isinstance(value, list | tuple):
        if not _may_hold_none(value):
            return value, None
        value = value.tolist()
    unknown = [_is_unknown(each) for each in value]
    if not any(unknown) or any(hasattr(each, "__len__") or getattr(each, "ndim", 0) for each in value):
        return value, None
    if all(unknown):
        return [UNKNOWN] * len(value), torch.ones(len(value), dtype=torch.bool)
    known = next(each for each, without in zip(value, unknown, strict=True) if not without)
    return [known if without else each for each, without in zip(value, unknown, strict=True)], torch.tensor(unknown)


def _may_hold_none(value: Any) -> bool:
    """Whether it is an array or a column of objects, or of a type of pandas that has a value for what is missing."""
    kind = getattr(value, "dtype", None)
    return (
        kind is not None
        and hasattr(value, "tolist")
        and getattr(value, "ndim", 1) == 1
        and (not isinstance(kind, np.dtype) or kind.kind == "O")
    )


def _is_unknown(value: Any) -> bool:
    """Whether an entry says that nothing is known: ``None``, NA, or NaN."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )
