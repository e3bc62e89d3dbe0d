"""The latents that metrics look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from mmvae.nn.masked_mean import masked_mean


@dataclass(frozen=True, eq=False)
class Inferred:
    """The latents of those data points that have every member of a subset.

    Attributes:
        rows: which data points, int64 ``[n]`` on the CPU, ascending.
        mean: posterior means ``[n, D]``, or ``[n, *T, D]`` where latents are sequences, on the CPU.
        draw: one draw from each posterior, of the shape of ``mean``, on the CPU.
        point_mass: whether the posterior is deterministic.
        codes: of models with a codebook, ``[n, *T]`` on the CPU, -1 at steps that are not there; otherwise ``None``.
        logits: of models that classify, ``[n, C]`` on the CPU; otherwise ``None``.
    """

    rows: Int64[Tensor, "n"]
    mean: Float[Tensor, "n *T D"]
    draw: Float[Tensor, "n *T D"]
    point_mass: bool
    codes: Int64[Tensor, "n *T"] | None = None
    logits: Float[Tensor, "n C"] | None = None

    @property
    def there(self) -> Bool[Tensor, "n *T"]:
        """Which steps of the latents are there; all of them, where no codes say otherwise."""
        return steps_there(self.mean, self.codes)

    @property
    def flat(self) -> Float[Tensor, "n F"]:
        """The means, those of sequences step after step in one row, with zeros for steps that are not there."""
        return (self.mean * self.there.unsqueeze(-1)).flatten(1)

    @property
    def pooled(self) -> Float64[Tensor, "n D"]:
        """The means, those of sequences averaged over the steps that are there."""
        return mean_over_steps(self.mean, self.there)

    def places(self, rows: Int64[Tensor, "k"]) -> Int64[Tensor, "k"]:
        """Where some of ``rows`` stand in it."""
        return torch.searchsorted(self.rows, rows)


def joined(parts: Sequence[Inferred]) -> Inferred:
    """The latents of consecutive data points as one."""
    first = parts[0]
    return Inferred(
        torch.cat([part.rows for part in parts]),
        torch.cat([part.mean for part in parts]),
        torch.cat([part.draw for part in parts]),
        first.point_mass,
        None if first.codes is None else torch.cat([part.codes for part in parts]),  # type: ignore[misc]
        None if first.logits is None else torch.cat([part.logits for part in parts]),  # type: ignore[misc]
    )


def steps_there(mean: Float[Tensor, "n *T D"], codes: Int64[Tensor, "n *C"] | None) -> Bool[Tensor, "n *T"]:
    """Which steps of latents are there; all of them (one a row, without steps), where no codes say otherwise."""
    if codes is None or codes.shape != mean.shape[:-1]:
        return torch.ones(mean.shape[:-1], dtype=torch.bool, device=mean.device)
    return codes >= 0


def mean_over_steps(features: Float[Tensor, "n *T D"], there: Bool[Tensor, "n *T"]) -> Float64[Tensor, "n D"]:
    """Features averaged over the steps that are there (zero where none is); those without steps as they are."""
    steps = features.double().reshape(len(features), -1, features.shape[-1])
    return masked_mean(steps, there.reshape(len(features), -1))
