"""The tables of a dataset, checked: which base row, what is present, how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.data.rows import Rows, Sampler


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


def present(name: str, values: Tensor, observed: Tensor, points: Tensor) -> Tensor:
    """Which rows of values that were just read are there, bool ``[B]``: those that are masked, or NaN, are not.

    Args:
        name: of the modality.
        values: ``[B, ...]``.
        observed: bool ``[B]``, what is known of them.
        points: int64 ``[B]``, the numbers of the data points, for errors.

    Raises:
        ValueError: for a row that is infinite, or NaN in part.
    """
    if not len(values):
        return observed
    try:
        return Batch({name: values}, {name: observed}).observed[name]
    except ValueError as error:
        rows = values.reshape(len(values), -1)
        fault = observed & ~rows.isfinite().all(1) & ~rows.isnan().all(1)
        number = int(points[fault.nonzero()[0]])
        raise ValueError(f"{error} The first of them is data point {number}.") from error
