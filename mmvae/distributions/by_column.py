"""A distribution of tables whose columns are of several families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints


class ByColumn(TorchDistribution):
    """Independent columns, of which each group has a distribution of its own, of batch shape ``[*S, P]``.

    Args:
        parts: Distribution of each group, of batch shape ``[*S, n]`` and without event dimensions.
        columns: Places of the columns of each group, int64 ``[n]``; together each of 0 to P - 1 once.

    Raises:
        ValueError: For a part with event dimensions.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (Pyro's own declaration)

    def __init__(self, parts: Sequence[Distribution], columns: Sequence[Int64[Tensor, "_"]]) -> None:
        for part in parts:
            if part.event_shape:
                raise ValueError(
                    f"the likelihood of a column has the event shape {tuple(part.event_shape)}; make its numbers "
                    f"independent, without to_event."
                )
        self.parts, self.columns = tuple(parts), tuple(columns)
        self._order = torch.cat(self.columns).argsort()
        shape = torch.Size((*parts[0].batch_shape[:-1], len(self._order)))
        super().__init__(shape, torch.Size(), validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether draws of every column are reparameterised."""
        return all(part.has_rsample for part in self.parts)

    @property
    def support(self) -> constraints.Constraint:
        """All real numbers; each part checks its own columns."""
        return constraints.real

    def log_prob(self, value: Tensor) -> Tensor:
        """Of each number, ``[*S, P]``, in nats."""
        pairs = zip(self.parts, self.columns, strict=True)
        return self._joined([part.log_prob(value[..., columns]) for part, columns in pairs])

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Reparameterised draws ``[*sample_shape, *S, P]``."""
        return self.collected(lambda part: part.rsample(torch.Size(sample_shape)))

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draws ``[*sample_shape, *S, P]``."""
        with torch.no_grad():
            return self.collected(lambda part: part.sample(torch.Size(sample_shape)))

    @property
    def mean(self) -> Tensor:
        """``[*S, P]``; NaN in columns of categories."""
        return self.collected(lambda part: part.mean)

    @property
    def variance(self) -> Tensor:
        """``[*S, P]``; NaN in columns of categories."""
        return self.collected(lambda part: part.variance)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ByColumn:
        """The same over a larger batch ``[*S, P]``."""
        pairs = zip(self.parts, self.columns, strict=True)
        return ByColumn([part.expand((*batch_shape[:-1], len(columns))) for part, columns in pairs], self.columns)

    def collected(self, of_part: Callable[[Any], Tensor]) -> Tensor:
        """What a function makes of each part, ``[..., n]``, as numbers of all columns, ``[..., P]``."""
        found = [of_part(part) for part in self.parts]
        return self._joined([each.to(self._dtype(found)) for each in found])

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), -1).index_select(-1, self._order)

    @staticmethod
    def _dtype(found: Sequence[Tensor]) -> torch.dtype:
        real = [each.dtype for each in found if each.is_floating_point()]
        return real[0] if real else torch.get_default_dtype()
