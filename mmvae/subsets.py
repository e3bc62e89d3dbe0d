"""Subsets of modalities: names, boolean masks, and the powerset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import torch
from jaxtyping import Bool
from torch import Tensor

Subset = str | Iterable[str] | None
"""What a user may write for a subset: one name, several in any order, or ``None`` for all that is there."""


def canonical(subset: Subset, names: Sequence[str]) -> tuple[str, ...]:
    """The members of ``subset`` in the order of ``names``, so that the order a user writes never matters.

    Args:
        subset: one name, several names, or ``None`` for all of ``names``.
        names: the modalities there are.

    Raises:
        ValueError: if the subset is empty, or holds a name that is not in ``names``.
        TypeError: if the subset is not made of strings.
    """
    if subset is None:
        return tuple(names)
    if isinstance(subset, str):
        subset = (subset,)
    elif not isinstance(subset, Iterable):
        raise TypeError(f"subset: expected a modality name, several names or None, got {type(subset).__name__}.")
    chosen = list(subset)
    for name in chosen:
        if not isinstance(name, str):
            raise TypeError(f"subset: expected modality names (str), got {name!r} of type {type(name).__name__}.")
        if name not in names:
            raise ValueError(f"subset: unknown modality {name!r}; choose among {', '.join(map(repr, names))}.")
    if not chosen:
        raise ValueError(f"subset is empty: name at least one of {', '.join(map(repr, names))}, or pass None for all.")
    return tuple(name for name in names if name in chosen)


def powerset(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All 2^M - 1 non-empty subsets of ``names``, the small ones first, the whole last."""
    return [members for size in range(1, len(names) + 1) for members in combinations(names, size)]


def to_mask(subsets: Iterable[Subset], names: Sequence[str]) -> Bool[Tensor, "S M"]:
    """One row per subset, one column per name; true where the modality is a member."""
    rows = [[name in canonical(subset, names) for name in names] for subset in subsets]
    return torch.tensor(rows, dtype=torch.bool).reshape(-1, len(names))


def from_mask(mask: Bool[Tensor, "S M"], names: Sequence[str]) -> list[tuple[str, ...]]:
    """The names that each row of ``mask`` marks; the inverse of :func:`to_mask`."""
    return [tuple(name for name, member in zip(names, row, strict=True) if member) for row in mask.tolist()]


def label(subset: Sequence[str]) -> str:
    """A subset as people write it in tables and plots: ``"mnist+text"``."""
    return "+".join(subset)
