"""The means of a loss and its terms over an epoch, and where they stop being finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmvae.batch import Batch

_CONSEQUENCES = ("loss", "elbo")
"""Names that are sums over others: at fault only if no other is."""


_COLUMNS = ("loss", "epoch", "split", "seconds")
"""Names of a row of metrics that no term may bear."""


class Means:
    """Means of a loss and its terms, summed up on the device; nothing waits for it until they are asked for.

    The mean of a term is over the rows of the steps that have the term; that of a modality, over the rows that have the
    modality. So a curve does not depend on how much is missing, or in which steps.

    Sums are in float64 and grow in the order of the steps, so an epoch that was interrupted gives the same means bit
    for bit.
    """

    def __init__(self) -> None:
        self._sums: dict[
            tuple[str, ...], Tensor
        ] = {}  # by the names of the terms: sums over rows, and rows, [2, names]
        self._unchecked: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, step: int, batch: Batch, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Count one step in.

        Args:
            step: Step of the epoch, from 0.
            batch: Batch of the step.
            loss: Scalar, mean over the rows.
            terms: Scalars by name, each a mean over the rows; that of a modality over the rows that have it.

        Raises:
            ValueError: For a term that bears the name of another column.
        """
        names = ("loss", *terms)
        for name in terms:
            if name in _COLUMNS:
                raise ValueError(f"terms: {name!r} is the name of another column of the metrics; rename the term.")
        values = torch.stack([loss.detach(), *(term.detach() for term in terms.values())])
        if names not in self._sums:
            self._sums[names] = torch.zeros(2, len(names), dtype=torch.float64, device=values.device)
        if batch.complete:
            self._sums[names][0].add_(values, alpha=batch.size)
            self._sums[names][1].add_(batch.size)
        else:
            rows = _rows(names, batch, values)
            self._sums[names].add_(torch.stack([torch.where(rows > 0, values * rows, 0.0), rows]))
        self._unchecked.append((step, names, values))

    def fault(self) -> tuple[int, tuple[str, ...]] | None:
        """The first step since the last call whose loss or terms are not finite, and their names; waits for the device.

        Sums (the loss itself, the ELBO) are named only if no other term is at fault.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked or all(bool(sums.isfinite().all()) for sums in self._sums.values()):
            return None
        for step, names, values in unchecked:
            bad = [name for name, fine in zip(names, values.isfinite().tolist(), strict=True) if not fine]
            if bad:
                return step, tuple(name for name in bad if name not in _CONSEQUENCES) or tuple(bad)
        return None

    def result(self) -> dict[str, float]:
        """The means so far, by name, the loss first; a modality that no row had is left out."""
        return mean_of([self.totals()])

    def totals(self) -> Totals:
        """By name, the sum over rows and the number of rows."""
        totals: dict[str, tuple[float, float]] = {}
        for names, sums in self._sums.items():
            for name, value, rows in zip(names, *sums.tolist(), strict=True):
                before = totals.get(name, (0.0, 0.0))
                totals[name] = before[0] + value, before[1] + rows
        return totals

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` takes."""
        return {"sums": [[list(names), sums] for names, sums in self._sums.items()]}

    @classmethod
    def restore(cls, state: Mapping[str, Any], device: torch.device) -> Means:
        """Means in the state that :meth:`state` gave."""
        means = cls()
        means._sums = {tuple(names): sums.to(device) for names, sums in state["sums"]}
        return means

    @classmethod
    def merged(cls, states: Sequence[Mapping[str, Any]], device: torch.device) -> Means:
        """The means over what several processes have counted, each in the state that :meth:`state` gave."""
        means = cls()
        for other in (cls.restore(state, device) for state in states):
            for names, sums in other._sums.items():
                means._sums[names] = means._sums[names] + sums if names in means._sums else sums
        return means


Totals = Mapping[str, tuple[float, float]]
"""By the name of a term, its sum over rows and their number."""


def mean_of(totals: Sequence[Totals]) -> dict[str, float]:
    """The means over the data points of several processes, from the totals of each."""
    names = dict.fromkeys(name for each in totals for name in each)
    sums = {name: [each[name] for each in totals if name in each] for name in names}
    rows = {name: sum(count for _, count in parts) for name, parts in sums.items()}
    return {name: sum(value for value, _ in parts) / rows[name] for name, parts in sums.items() if rows[name]}


def _rows(names: Sequence[str], batch: Batch, like: Tensor) -> Tensor:
    """How many rows each term is the mean over."""
    whole = torch.full((), float(batch.size), dtype=torch.float64, device=like.device)
    counts = [batch.observed[name].sum().double() if name in batch.observed else whole for name in names]
    return torch.stack([count.to(like.device) for count in counts])
