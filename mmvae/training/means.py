"""The means of a loss and its terms over an epoch, and where they stop being finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_CONSEQUENCES = ("loss", "elbo")
"""Names that are sums over others: at fault only if no other is."""


class Means:
    """Means per datum of a loss and its terms, summed up on the device; nothing waits for it until they are asked for.

    Sums are in float64 and grow in the order of the steps, so an epoch that was interrupted gives the same means bit
    for bit.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._rows = 0
        self._unchecked: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, step: int, rows: int, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Counts one step in.

        Args:
            step: of the epoch, from 0.
            rows: how many data points the loss is the mean over.
            loss: a scalar.
            terms: scalars, by name.
        """
        names = ("loss", *terms)
        values = torch.stack([loss.detach(), *(term.detach() for term in terms.values())])
        if names not in self._sums:
            self._sums[names] = torch.zeros(len(names), dtype=torch.float64, device=values.device)
        self._sums[names].add_(values, alpha=rows)
        self._rows += rows
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
        """The means so far, by name, the loss first; a term that some steps lack counts as zero there."""
        return mean_of([self.totals()])

    def totals(self) -> tuple[int, dict[str, float]]:
        """How many data points were counted, and the sums over them."""
        totals: dict[str, float] = {}
        for names, sums in self._sums.items():
            for name, value in zip(names, sums.tolist(), strict=True):
                totals[name] = totals.get(name, 0.0) + value
        return self._rows, totals

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` takes."""
        return {"rows": self._rows, "sums": [[list(names), sums] for names, sums in self._sums.items()]}

    @classmethod
    def restore(cls, state: Mapping[str, Any], device: torch.device) -> Means:
        """Means in the state that :meth:`state` gave."""
        means = cls()
        means._rows = state["rows"]
        means._sums = {tuple(names): sums.to(device) for names, sums in state["sums"]}
        return means

    @classmethod
    def merged(cls, states: Sequence[Mapping[str, Any]], device: torch.device) -> Means:
        """The means over what several processes have counted, each in the state that :meth:`state` gave."""
        means = cls()
        for other in (cls.restore(state, device) for state in states):
            means._rows += other._rows
            for names, sums in other._sums.items():
                means._sums[names] = means._sums[names] + sums if names in means._sums else sums
        return means


def mean_of(totals: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """The means over the data points of several processes, from the totals of each."""
    rows = sum(count for count, _ in totals)
    names = dict.fromkeys(name for _, sums in totals for name in sums)
    return {name: sum(sums.get(name, 0.0) for _, sums in totals) / rows for name in names}
