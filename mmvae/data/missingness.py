"""Missingness tables: which modality is missing in which row, drawn once, stored, and used again."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from mmvae.data.arrays import read_npz
from mmvae.data.streams import stream

Rate = float | Mapping[int, float]
"""The share of rows in which a modality is missing: one for all rows, or one for each label."""

_FORMAT = "mmvae missingness table, version 1"


@dataclass(frozen=True, eq=False)
class Missingness:
    """A table of which modalities are present in which of N rows; every row keeps at least one.

    Attributes:
        observed: by modality, true where the datum is present.
        rates: by modality, the rate of missing data that was asked for, in all rows or by label.
        seed: of the draw.
        labels_hash: of the labels by which the table was drawn; ``None`` if it was drawn without looking at them.

    Example:
        >>> table = Missingness.draw(1000, {"image": 0.5, "text": 0.2}, seed=0)
        >>> bool((table.observed["image"] | table.observed["text"]).all())
        True
    """

    observed: Mapping[str, Bool[Tensor, "N"]]
    rates: Mapping[str, Rate]
    seed: int
    labels_hash: str | None = None

    @classmethod
    def draw(cls, rows: int | Int64[Tensor, "N"], rates: Mapping[str, Rate], seed: int = 0) -> Missingness:
        """A table with exactly the asked rates on average, in which no row loses every modality.

        The modalities go missing independently of each other, given that not all do; the chances of the independent
        draws are such that after this condition the rates are those that were asked for. Without rates by label the
        data are missing completely at random; with them, at random given the label.

        Args:
            rows: N, or the labels of N rows, which rates by label need.
            rates: by modality (all of them: those without missing data have rate 0), a number in [0, 1] for all rows,
                or one for each label, ``{0: 0.1, 1: 0.6}``.
            seed: the order of the modalities does not matter.

        Raises:
            ValueError: for a rate outside [0, 1], a label without a rate, or rates that leave less than one modality
                per row.
        """
        if not rates:
            raise ValueError("missingness: name the rate of at least one modality.")
        labels = rows if isinstance(rows, Tensor) else torch.zeros(rows, dtype=torch.int64)
        by_label = any(isinstance(rate, Mapping) for rate in rates.values())
        if by_label and not isinstance(rows, Tensor):
            raise ValueError("missingness: rates by label need the labels of the rows, in the place of their number.")
        if not len(labels):
            raise ValueError("missingness: a table needs at least one row.")
        names = sorted(rates)
        classes, inverse = labels.cpu().unique(return_inverse=True)
        groups = classes.tolist() if by_label else [0]
        keep = torch.tensor([[1.0 - _rate(rates, name, group) for name in names] for group in groups]).double()
        independent = torch.stack([_independent(row, names) for row in keep])  # [classes, M]
        group_of = inverse if by_label else torch.zeros_like(inverse)
        observed = _draw(independent[group_of], names, seed)
        return cls(
            {name: observed[name] for name in rates},
            {name: dict(rate) if isinstance(rate, Mapping) else float(rate) for name, rate in rates.items()},
            seed,
            _hash_labels(labels) if by_label else None,
        )

    @classmethod
    def stored(
        cls, path: Path | str, rows: int | Int64[Tensor, "N"], rates: Mapping[str, Rate], seed: int = 0
    ) -> Missingness:
        """The table in this file; drawn and saved there first, if there is no such file.

        Raises:
            ValueError: if the file is damaged, or holds the table of other rows, rates or another seed.
        """
        path = Path(path)
        if not path.exists():
            cls.draw(rows, rates, seed).save(path)
        table = cls.load(path)
        size = len(rows) if isinstance(rows, Tensor) else rows
        expected = {name: dict(rate) if isinstance(rate, Mapping) else float(rate) for name, rate in rates.items()}
        found = (len(table), dict(table.rates), table.seed)
        if found != (size, expected, seed):
            raise ValueError(
                f"missingness: {path} holds the table of (rows, rates, seed) {found}, but {(size, expected, seed)} "
                f"is asked for; use another path."
            )
        if table.labels_hash is not None and isinstance(rows, Tensor) and table.labels_hash != _hash_labels(rows):
            raise ValueError(f"missingness: {path} was drawn by other labels than these; use another path.")
        return table

    def __len__(self) -> int:
        return len(next(iter(self.observed.values())))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the rates, the seed and every mask; the same for any order of the modalities."""
        digest = hashlib.sha256(_json(self._description(sorted(self.observed))).encode())
        for name in sorted(self.observed):
            digest.update(_packed(self.observed[name]).tobytes())
        return digest.hexdigest()

    def save(self, path: Path | str) -> None:
        """Writes the table (.npz: one bit per entry, and a description in JSON) in one step."""
        path = Path(path)
        description = {**self._description(list(self.observed)), "hash": self.hash}
        buffer = io.BytesIO()
        masks = {f"observed_{place}": _packed(mask) for place, mask in enumerate(self.observed.values())}
        # mypy takes the starred arrays for the keyword allow_pickle of the signature
        np.savez_compressed(buffer, description=np.array(_json(description)), **masks)  # type: ignore[arg-type]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(buffer.getvalue())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str) -> Missingness:
        """The table that :meth:`save` wrote, bit for bit.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is no missingness table, or its content does not fit its hash.
        """
        path = Path(path)
        arrays = read_npz("missingness", path)
        try:
            description = json.loads(str(arrays["description"]))
            if description["format"] != _FORMAT:
                raise ValueError(f"unknown format {description['format']!r}")
            size = description["size"]
            observed = {
                name: torch.from_numpy(np.unpackbits(arrays[f"observed_{place}"], count=size).astype(bool))
                for place, name in enumerate(description["names"])
            }
            rates = {
                name: {int(label): value for label, value in rate.items()} if isinstance(rate, dict) else rate
                for name, rate in description["rates"].items()
            }
            table = cls(observed, rates, description["seed"], description["labels_hash"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"missingness: {path} is damaged or no missingness table: {error}.") from error
        if table.hash != description["hash"]:
            raise ValueError(f"missingness: {path} is damaged: its content does not fit the hash that it bears.")
        return table

    def _description(self, names: Sequence[str]) -> dict[str, object]:
        rates = {name: self.rates[name] for name in names}
        return {
            "format": _FORMAT,
            "names": list(names),
            "size": len(self),
            "rates": {
                name: {str(label): rate[label] for label in sorted(rate)} if isinstance(rate, Mapping) else rate
                for name, rate in rates.items()
            },
            "seed": self.seed,
            "labels_hash": self.labels_hash,
        }


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


def _rate(rates: Mapping[str, Rate], name: str, label: int) -> float:
    rate = rates[name]
    if isinstance(rate, Mapping):
        if label not in rate:
            raise ValueError(f"{name}: no rate for the label {label}; it has rates for {sorted(rate)}.")
        rate = rate[label]
    if not 0 <= rate <= 1:
        raise ValueError(f"{name}: the rate of missing data lies in [0, 1], got {rate!r}.")
    return float(rate)


def _independent(keep: Float64[Tensor, "M"], names: Sequence[str]) -> Float64[Tensor, "M"]:
    """Chances k'_m of independent draws that, given that at least one modality is kept, keep k_m of each on average.

    With P the probability that the independent draws lose everything, the condition leaves k'_m / (1 - P), so
    k'_m = (1 - P) k_m, and P solves P = prod_m (1 - (1 - P) k_m). The right side is convex in P and equal to 1 at
    P = 1: there is one root below 1 if more than one modality is kept per row on average, sum_m k_m > 1, and at
    exactly 1 the root and P = 1 meet.
    """
    if keep.sum() < 1 - 1e-6:
        raise ValueError(
            f"missingness: these rates keep {float(keep.sum()):.3g} modalities per row (of "
            f"{', '.join(map(repr, names))}), but every row keeps at least one; lower a rate."
        )
    low, high = 0.0, 1.0 - 1e-9
    for _ in range(60):  # bisection to the precision of float64
        middle = (low + high) / 2
        if float((1 - (1 - middle) * keep).prod()) > middle:
            low = middle
        else:
            high = middle
    return (1 - low) * keep


def _draw(keep: Float64[Tensor, "N M"], names: Sequence[str], seed: int) -> dict[str, Tensor]:
    """Independent draws, given that at least one is kept: one modality after the other, without rejection."""
    observed: dict[str, Tensor] = {}
    none_yet = torch.ones(len(keep), dtype=torch.bool)
    log_missing = torch.log1p(-keep)
    for place, name in enumerate(names):
        # As long as nothing was kept, something among the rest must be; the last one left is kept for certain.
        some_of_the_rest = -torch.expm1(log_missing[:, place:].sum(1))
        forced = keep[:, place] / some_of_the_rest if place + 1 < len(names) else torch.ones_like(some_of_the_rest)
        uniform = torch.rand(len(keep), generator=stream(seed, "missing", name), dtype=torch.float64)
        observed[name] = uniform < torch.where(none_yet, forced, keep[:, place])
        none_yet &= ~observed[name]
    return observed


def _packed(mask: Tensor) -> np.ndarray:
    return np.packbits(mask.cpu().numpy())


def _hash_labels(labels: Tensor) -> str:
    return hashlib.sha256(labels.cpu().numpy().tobytes()).hexdigest()


def _json(description: object) -> str:
    return json.dumps(description, sort_keys=True)
