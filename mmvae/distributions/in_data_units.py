"""A distribution of transformed data, as one of the data itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

from mmvae.transforms import Units, spread


class InDataUnits(TorchDistribution):
    """The distribution of x where y = T(x) has a given one: its log-density is log p(T(x)) + log |dT/dx|, in nats.

    Args:
        base: Distribution of transformed data; its event is a whole row.
        transform: T, which acts on each number by itself.
        observed: Where data is present, bool ``[N]`` or with further dimensions of the data. Of the other numbers
            ``hole`` is scored, without a Jacobian: what the base leaves out of its sum there stays out.
        hole: Transformed value that the base can score, or one for each column; ``None`` where the data holds such
            values.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (Pyro's own declaration)

    def __init__(
        self,
        base: Distribution,
        transform: Units,
        observed: Bool[Tensor, "N *cells"] | None = None,
        hole: float | Tensor | None = 0.0,
    ) -> None:
        self.base, self.transform, self.observed, self.hole = base, transform, observed, hole
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether draws of the base are reparameterised."""
        return self.base.has_rsample

    @property
    def support(self) -> constraints.Constraint:
        """All real rows."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats."""
        seen, jacobian = seen_and_slopes(self.transform, value, self.observed, self.hole, len(self.event_shape))
        return self.base.log_prob(seen) + jacobian

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Reparameterised draws ``[*sample_shape, *batch, *event]``."""
        return self.transform.inverse(self.base.rsample(torch.Size(sample_shape)))

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draws ``[*sample_shape, *batch, *event]``."""
        with torch.no_grad():
            return self.transform.inverse(self.base.sample(torch.Size(sample_shape)))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> InDataUnits:
        """The same over a larger batch."""
        return InDataUnits(self.base.expand(torch.Size(batch_shape)), self.transform, self.observed, self.hole)

    @property
    def mean(self) -> Tensor:
        """``[*batch, *event]``, where the transform is affine."""
        self._require_affine("mean")
        return self.transform.inverse(self.base.mean)

    @property
    def variance(self) -> Tensor:
        """``[*batch, *event]``, where the transform is affine."""
        self._require_affine("variance")
        return self.base.variance * self.transform.scale.square()

    def _require_affine(self, moment: str) -> None:
        if not self.transform.is_affine:
            raise NotImplementedError(
                f"the {moment} of data seen through {type(self.transform).__name__} has no closed form; take draws, "
                f"or the points of generate()."
            )


def seen_and_slopes(
    transform: Units,
    value: Tensor,
    observed: Bool[Tensor, "N *cells"] | None,
    hole: float | Tensor | None,
    event_dims: int,
) -> tuple[Tensor, Tensor]:
    """T(x), and log |dT/dx| of each row, in nats.

    Args:
        transform: T.
        value: x, ``[*K, N, *shape]``.
        observed: As of :class:`InDataUnits`, with the two rules for the numbers that are not.
        hole: As of :class:`InDataUnits`.
        event_dims: Number of dimensions of a row.
    """
    seen = transform(value)
    if transform.is_affine and observed is None and event_dims:  # of one slope for each column, whatever the data
        rows, row = value.shape[: value.ndim - event_dims], value.shape[value.ndim - event_dims :]
        return seen, -transform.scale.log().expand(row).sum().expand(rows)
    slopes = transform.log_derivative(value)
    if observed is not None:
        present = spread_over(observed, value, event_dims)
        slopes = torch.where(present, slopes, 0.0)
        seen = seen if hole is None else torch.where(present, seen, hole)
    return seen, slopes.sum(tuple(range(-event_dims, 0))) if event_dims else slopes


def spread_over(mask: Bool[Tensor, "N *cells"], values: Tensor, event_dims: int) -> Bool[Tensor, "*K N *shape"]:
    """A mask of rows or of parts of rows as one of every number of ``values``, whatever dimensions lead."""
    row = values.ndim - event_dims - 1
    return spread(mask, values) if row <= 0 else spread(mask, values[(0,) * row]).expand_as(values)
