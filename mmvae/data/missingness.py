"""Missingness tables: which modality is missing in which row, drawn once, stored, and used again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from mmvae.data.reading import read_npz
from mmvae.files import reading, write_whole
from mmvae.seeds import stream

RATES = tuple(step / 10 for step in range(11))
"""The rates of a curve: 0 to 100 % in steps of 10."""

_FORMAT = "mmvae missingness table, version 1"


@dataclass(frozen=True, eq=False)
class Missingness:
    """A table of which modalities are present in which of N rows; every row keeps at least one.

    Attributes:
        observed: by modality, true where the datum is present.
        rates: by modality, the rate of missing data that was asked for, in all rows or by label.
        seed: of the draw.
        labels_hash: of the labels by which the table was drawn; ``None`` if it was drawn without looking at them.
        kind: the modalities of which an incomplete row lost one, joined by "+", if the table was drawn by type.

    Example:
        >>> table = Missingness.draw(1000, {"image": 0.5, "text": 0.2}, seed=0)
        >>> bool((table.observed["image"] | table.observed["text"]).all())
        True
    """

    observed: Mapping[str, Bool[Tensor, "N"]]
    rates: Mapping[str, Rate]
    seed: int
    labels_hash: str | None = None
    kind: str | None = None

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
        observed = draw_at_rates(labels.cpu() if by_label else torch.zeros(len(labels), dtype=torch.int64), rates, seed)
        return cls(
            {name: observed[name] for name in rates},
            {name: dict(rate) if isinstance(rate, Mapping) else float(rate) for name, rate in rates.items()},
            seed,
            _hash_labels(labels) if by_label else None,
        )

    @classmethod
    def by_type(
        cls,
        rows: int,
        rate: float,
        kind: str | Collection[str],
        names: Collection[str] = ("image", "text"),
        seed: int = 0,
    ) -> Missingness:
        """A table in which a share of the rows is incomplete: the protocol of missing-aware prompts.

        ``int(rows * rate)`` rows, drawn without replacement, lose one modality each, and no row loses more. Under the
        type ``"text"`` they all lose the text, under ``"image"`` the image, under ``"both"`` one half of them each; an
        odd number leaves one more row without text. With more than two modalities a type is any of them, several (which
        share the incomplete rows as equally as may be; what is left over goes to the last ones in alphabetical order),
        or ``"all"``.

        Tables of one type, size and seed are nested: what is missing at one rate is missing at every higher one.

        Args:
            rows: N.
            rate: share of incomplete rows, in [0, 1].
            kind: the type.
            names: all modalities; their order does not matter.
            seed: types draw independently of each other.

        Raises:
            ValueError: for a rate outside [0, 1], an unknown type, fewer than two modalities, or no rows.

        Source: Lee et al. 2023 (multimodal prompting with missing modalities), the protocol of their code.

        Example:
            >>> table = Missingness.by_type(7799, 0.7, "both")
            >>> {name: int((~mask).sum()) for name, mask in table.observed.items()}
            {'image': 2729, 'text': 2730}
        """
        if rows < 1:
            raise ValueError("missingness: a table needs at least one row.")
        if not 0 <= rate <= 1:
            raise ValueError(f"missingness: the share of incomplete rows lies in [0, 1], got {rate!r}.")
        losers = losing(kind, names)
        lost = draw_by_type(rows, rate, losers, seed)
        everything = torch.ones(rows, dtype=torch.bool)
        return cls(
            {name: lost.get(name, everything) for name in names},
            {name: rate / len(losers) if name in losers else 0.0 for name in names},
            seed,
            kind="+".join(losers),
        )

    @classmethod
    def curve(
        cls,
        rows: int,
        kind: str | Collection[str],
        names: Collection[str] = ("image", "text"),
        rates: Sequence[float] = RATES,
        seed: int = 0,
    ) -> dict[float, Missingness]:
        """By rate, a table of this type (:meth:`by_type`), each of which misses whatever those of lower rates miss.

        So a metric over the rates is a smooth curve. At rate 1 a modality is missing in every row.

        Args:
            rows: N.
            kind: the modality that goes missing, or another type.
            names: all modalities.
            rates: by default 0 to 100 % in steps of 10.
            seed: of all the draws.

        Raises:
            ValueError: as :meth:`by_type`.
        """
        return {rate: cls.by_type(rows, rate, kind, names, seed) for rate in rates}

    @classmethod
    def stored(
        cls, path: Path | str, rows: int | Int64[Tensor, "N"], rates: Mapping[str, Rate], seed: int = 0
    ) -> Missingness:
        """The table in this file; drawn and saved there first, if there is no such file.

        Raises:
            ValueError: if the file is damaged, or holds the table of other rows, rates or another seed.
        """
        return cls.draw(rows, rates, seed).kept_in(path)

    def kept_in(self, path: Path | str) -> Missingness:
        """The table in this file; this one is saved there first, if there is no such file.

        So a table is drawn once, and is the same for all who name the file, whatever becomes of the generators:
        ``Missingness.by_type(1000, 0.7, "text").kept_in("tables/text-70.npz")``.

        Raises:
            ValueError: if the file is damaged, or holds a table that was drawn otherwise: of other rows, rates or type,
                by other labels or another seed.
        """
        path = Path(path)
        if not path.exists():
            self.save(path)
        table = self.load(path)
        found, asked = table._drawn_by(), self._drawn_by()
        if found != asked:
            raise ValueError(
                f"missingness: {path} holds the table of (rows, rates, seed, type) {found}, but {asked} is asked for; "
                f"use another path."
            )
        if table.labels_hash != self.labels_hash:
            raise ValueError(f"missingness: {path} was drawn by other labels than these; use another path.")
        return table

    def at(self, rows: Int64[Tensor, "n"]) -> dict[str, Bool[Tensor, "n"]]:
        """The masks of n data points that stand for these rows, as several texts of one film do for that film."""
        return {name: mask[rows] for name, mask in self.observed.items()}

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
        description = {**self._description(list(self.observed)), "hash": self.hash}
        buffer = io.BytesIO()
        masks = {f"observed_{place}": _packed(mask) for place, mask in enumerate(self.observed.values())}
        # mypy takes the starred arrays for the keyword allow_pickle of the signature
        np.savez_compressed(buffer, description=np.array(_json(description)), **masks)  # type: ignore[arg-type]
        write_whole(Path(path), lambda temporary: temporary.write_bytes(buffer.getvalue()))

    @classmethod
    def load(cls, path: Path | str) -> Missingness:
        """The table that :meth:`save` wrote, bit for bit.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is no missingness table, or its content does not fit its hash.
        """
        path = Path(path)
        arrays = read_npz("missingness", path)
        with reading(path, "missingness", "Expected a table that Missingness.save wrote."):
            description = json.loads(str(arrays["description"]))
            if description["format"] != _FORMAT:
                raise ValueError(f"unknown format {description['format']!r}")
            size = description["size"]
            packed = {name: arrays[f"observed_{place}"] for place, name in enumerate(description["names"])}
            if not 0 < size <= 8 * min(map(len, packed.values())):  # numpy would fill up what lacks
                raise ValueError(f"it does not hold {size!r} rows")
            observed = {
                name: torch.from_numpy(np.unpackbits(bits, count=size).astype(bool)) for name, bits in packed.items()
            }
            rates = {
                name: {int(label): value for label, value in rate.items()} if isinstance(rate, dict) else rate
                for name, rate in description["rates"].items()
            }
            kind = description.get("kind")  # the first tables had none
            table = cls(observed, rates, description["seed"], description["labels_hash"], kind)
            if table.hash != description["hash"]:
                raise ValueError("its content does not fit the hash that it bears")
            return table

    def _description(self, names: Sequence[str]) -> dict[str, object]:
        rates = {name: self.rates[name] for name in names}
        kind = {} if self.kind is None else {"kind": self.kind}
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
            **kind,
        }

    def _drawn_by(self) -> tuple[int, Mapping[str, Rate], int, str | None]:
        return len(self), dict(self.rates), self.seed, self.kind


def _packed(mask: Tensor) -> np.ndarray:
    return np.packbits(mask.cpu().numpy())


def _hash_labels(labels: Tensor) -> str:
    return hashlib.sha256(labels.cpu().numpy().tobytes()).hexdigest()


def _json(description: object) -> str:
    return json.dumps(description, sort_keys=True)


Rate = float | Mapping[int, float]
"""The share of rows in which a modality is missing: one for all rows, or one for each label."""

ALL = ("both", "all")
"""How a type is called under which every modality goes missing in an equal share of the rows."""


def draw_at_rates(labels: Int64[Tensor, "N"], rates: Mapping[str, Rate], seed: int) -> dict[str, Bool[Tensor, "N"]]:
    """By modality, true where the datum is present; see :meth:`mmvae.data.Missingness.draw`.

    Raises:
        ValueError: for a rate outside [0, 1], a label without a rate, or rates that leave less than one modality per
            row.
    """
    names = sorted(rates)
    classes, class_of = labels.unique(return_inverse=True)
    keep = torch.tensor([[1.0 - _rate(rates, name, label) for name in names] for label in classes.tolist()]).double()
    independent = torch.stack([_independent(row, names) for row in keep])  # [classes, M]
    return _draw(independent[class_of], names, seed)


def draw_by_type(size: int, rate: float, losing: Sequence[str], seed: int) -> dict[str, Bool[Tensor, "N"]]:
    """By each modality of ``losing``, true where the datum is present; see :meth:`mmvae.data.Missingness.by_type`.

    The incomplete rows are the first ones of a random order of all rows, and lose one modality after the other in
    turn. That is the same in distribution as marking them all for one modality and re-marking a random half of them for
    the other; and it nests: whatever is missing at a rate is missing at every higher one.
    """
    incomplete = int(size * rate)
    order = torch.randperm(size, generator=stream(seed, "type", *losing))[:incomplete]
    observed = {name: torch.ones(size, dtype=torch.bool) for name in losing}
    # Backwards, since an odd number leaves one more row without "text" than without "image".
    for turn, name in enumerate(reversed(losing)):
        observed[name][order[turn :: len(losing)]] = False
    return observed


def losing(kind: str | Collection[str], names: Collection[str]) -> tuple[str, ...]:
    """The modalities that go missing under a type, in alphabetical order.

    Raises:
        ValueError: for a type that names none of them, or another; and for fewer than two modalities, since a row
            would lose all that it has.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"missingness: a row loses one of its modalities and keeps the others, so at least two different ones "
            f"are needed, got {sorted(names)}."
        )
    asked = [kind] if isinstance(kind, str) else list(kind)
    chosen = set(names) if len(asked) == 1 and asked[0] in ALL and asked[0] not in names else set(asked)
    unknown = sorted(chosen - set(names))
    if unknown or not chosen:
        raise ValueError(
            f"missingness: a type is one of {', '.join(map(repr, sorted(names)))}, several of them, or "
            f"{' or '.join(map(repr, ALL))}, got {kind!r}."
        )
    return tuple(sorted(chosen))


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
