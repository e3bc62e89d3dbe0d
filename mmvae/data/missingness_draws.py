"""Draws of what is missing: at rates of each modality's own, or by type, one modality of a row at most."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from mmvae.data.streams import stream

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
