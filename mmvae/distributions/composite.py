"""Distributions put together from others, by rows or by columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pyro.distributions as dist
import torch
from jaxtyping import Bool
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from mmvae.distributions.mixture_of_experts import MixtureOfExperts
from mmvae.distributions.moments import mean_of, variance_of


def concatenate(distributions: Sequence[Distribution]) -> Distribution:
    """One distribution over the rows of several: posteriors of consecutive batches as one.

    Args:
        distributions: Posteriors of one kind, each of batch shape ``[N_i]`` and event shape ``[D]``.

    Returns:
        A distribution of batch shape ``[N_1 + N_2 + ...]``, of the same kind where its parameters can be joined.

    Raises:
        ValueError: For distributions of different event shapes.
    """
    first = distributions[0]
    if len(distributions) == 1:
        return first
    if isinstance(first, Independent) and all(isinstance(part, Independent) for part in distributions):
        bases = [cast(Independent, part).base_dist for part in distributions]
        joined = concatenate(bases)
        if not isinstance(joined, Joined):
            return dist.Independent(joined, first.reinterpreted_batch_ndims)
    elif all(type(part) is type(first) for part in distributions):
        if isinstance(first, MixtureOfExperts):
            return MixtureOfExperts(
                _cat(distributions, lambda part: part.loc, 1),
                _cat(distributions, lambda part: part.scale, 1),
                _cat(distributions, lambda part: part.weights, 1),
                first.family,
            )
        if isinstance(first, dist.Delta):
            return dist.Delta(_cat(distributions, lambda part: part.v), event_dim=first.event_dim)
        if isinstance(first, dist.Normal | dist.Laplace):
            loc = _cat(distributions, lambda part: part.loc)
            return type(first)(loc, _cat(distributions, lambda part: part.scale))
        if isinstance(first, dist.Empirical):
            samples = _cat(distributions, lambda part: part._samples)
            return dist.Empirical(samples, _cat(distributions, lambda part: part.log_weights))
    return Joined(distributions)


def choose_rows(rows: Bool[Tensor, "*batch"], chosen: Distribution, other: Distribution) -> Distribution:
    """The rows of one distribution where ``rows`` is true, those of another elsewhere.

    Args:
        rows: Bool ``[*batch]``.
        chosen: Distribution of batch shape ``[*batch]`` and event shape ``[D]``.
        other: Distribution of the same shapes.
    """
    if _is_family(chosen, dist.Normal) and _is_family(other, dist.Normal):
        one, two, keep = cast(Any, chosen).base_dist, cast(Any, other).base_dist, rows.unsqueeze(-1)
        return dist.Normal(torch.where(keep, one.loc, two.loc), torch.where(keep, one.scale, two.scale)).to_event(1)
    return Chosen(rows, chosen, other)


def select_columns(distribution: Distribution, columns: slice) -> Distribution:
    """The marginal over some columns of the event.

    Args:
        distribution: Distribution of event shape ``[D]`` or ``[T, D]``.
        columns: Columns of the last axis that stay.

    Returns:
        The marginal: in closed form for independent columns, mixtures, point masses and draws. Of any other
        distribution it can be drawn from, but has no density.
    """
    if isinstance(distribution, MixtureOfExperts):
        loc, scale = distribution.loc[..., columns], distribution.scale[..., columns]
        return MixtureOfExperts(loc, scale, distribution.weights, distribution.family)
    if isinstance(distribution, dist.Delta):
        return dist.Delta(distribution.v[..., columns], event_dim=distribution.event_dim)
    if isinstance(distribution, dist.Empirical):
        return dist.Empirical(distribution._samples[..., columns], distribution.log_weights)
    for family in (dist.Normal, dist.Laplace):
        if _is_family(distribution, family):
            base = cast(Any, distribution).base_dist
            return family(base.loc[..., columns], base.scale[..., columns]).to_event(1)
    if isinstance(distribution, WithGaps):
        return WithGaps(select_columns(distribution.known, columns), distribution.rows)
    if isinstance(distribution, Blocks):
        for block, part in zip(distribution.columns, distribution.parts, strict=True):
            if block == columns:
                return part
    return Selected(distribution, columns)


class _Composite(TorchDistribution):
    """A distribution whose moments are those of its parts."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (Pyro's own declaration)
    support = constraints.real_vector

    def _moment(self, moment: Callable[[Distribution], Tensor]) -> Tensor:
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """``[*batch, D]``."""
        return self._moment(mean_of)

    @property
    def variance(self) -> Tensor:
        """``[*batch, D]``."""
        return self._moment(variance_of)


class Joined(_Composite):
    """The rows of several distributions, one below the other.

    Args:
        parts: Distributions of batch shape ``[N_i]`` and one event shape.

    Raises:
        ValueError: For different event shapes.
    """

    def __init__(self, parts: Sequence[Distribution]) -> None:
        shapes = {tuple(part.event_shape) for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"cannot join the rows of distributions with the event shapes {sorted(shapes)}.")
        self.parts = tuple(parts)
        self._sizes = [part.batch_shape[0] for part in parts]
        self.has_rsample = all(part.has_rsample for part in parts)
        super().__init__(torch.Size([sum(self._sizes)]), parts[0].event_shape, validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Reparameterised draws ``[*sample_shape, N, *event]``."""
        return torch.cat([part.rsample(torch.Size(sample_shape)) for part in self.parts], len(sample_shape))

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draws ``[*sample_shape, N, *event]``."""
        return torch.cat([part.sample(torch.Size(sample_shape)) for part in self.parts], len(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats, each row under its own part."""
        rows = value.split(self._sizes, -1 - len(self.event_shape))
        return torch.cat([part.log_prob(each) for part, each in zip(self.parts, rows, strict=True)], -1)

    def _moment(self, moment: Callable[[Distribution], Tensor]) -> Tensor:
        return torch.cat([moment(part) for part in self.parts])


class WithGaps(_Composite):
    """The rows of a distribution among other rows, of which nothing is known: there all is NaN.

    Args:
        known: Distribution of the n rows that are known.
        rows: Bool ``[N]``, true at n places.

    Attributes:
        places: int64 ``[n]``, numbers of the known rows.
    """

    def __init__(self, known: Distribution, rows: Bool[Tensor, "N"]) -> None:
        self.known, self.rows = known, rows
        self.has_rsample = known.has_rsample
        self.places = rows.nonzero().flatten()
        super().__init__(torch.Size([len(rows)]), known.event_shape, validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Reparameterised draws ``[*sample_shape, N, *event]``."""
        return self.spread(self.known.rsample(torch.Size(sample_shape)), len(sample_shape))

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draws ``[*sample_shape, N, *event]``."""
        return self.spread(self.known.sample(torch.Size(sample_shape)), len(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        axis = value.ndim - 1 - len(self.event_shape)
        return self.spread(self.known.log_prob(value.index_select(axis, self.places)), -1)

    def spread(self, values: Tensor, axis: int = 0) -> Tensor:
        """Values of the rows that are known, with NaN, of whole numbers -1, in the rows between them.

        Args:
            values: ``[..., n, ...]``.
            axis: Axis of the rows.
        """
        axis %= values.ndim
        gap = torch.nan if values.is_floating_point() else -1
        full = values.new_full((*values.shape[:axis], len(self.rows), *values.shape[axis + 1 :]), gap)
        return full.index_copy(axis, self.places, values)

    def _moment(self, moment: Callable[[Distribution], Tensor]) -> Tensor:
        return self.spread(moment(self.known))


class Chosen(_Composite):
    """The rows of one distribution or of another (:func:`choose_rows`)."""

    def __init__(self, rows: Tensor, chosen: Distribution, other: Distribution) -> None:
        self.rows, self.chosen, self.other = rows, chosen, other
        self.has_rsample = chosen.has_rsample and other.has_rsample
        super().__init__(chosen.batch_shape, chosen.event_shape, validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Reparameterised draws ``[*sample_shape, *batch, D]``."""
        shape = torch.Size(sample_shape)
        return torch.where(self.rows.unsqueeze(-1), self.chosen.rsample(shape), self.other.rsample(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        return torch.where(self.rows, self.chosen.log_prob(value), self.other.log_prob(value))

    def _moment(self, moment: Callable[[Distribution], Tensor]) -> Tensor:
        return torch.where(self.rows.unsqueeze(-1), moment(self.chosen), moment(self.other))


class Blocks(_Composite):
    """Independent distributions over consecutive columns of one vector.

    Args:
        parts: Distributions of event shape ``[D_i]``, whose batch shapes broadcast.
    """

    def __init__(self, parts: Sequence[Distribution]) -> None:
        self.parts = tuple(parts)
        self._sizes = [part.event_shape[0] for part in parts]
        ends = torch.tensor(self._sizes).cumsum(0).tolist()
        self.columns = [slice(end - size, end) for end, size in zip(ends, self._sizes, strict=True)]
        self.has_rsample = all(part.has_rsample for part in parts)
        batch = torch.broadcast_shapes(*(part.batch_shape for part in parts))
        super().__init__(batch, torch.Size([ends[-1]]), validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Reparameterised draws ``[*sample_shape, *batch, D]``."""
        return self._draw(sample_shape, lambda part, shape: part.rsample(shape))

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draws ``[*sample_shape, *batch, D]``, also of parts that are not reparameterised."""
        with torch.no_grad():
            return self._draw(sample_shape, lambda part, shape: part.sample(shape))

    def _draw(
        self, sample_shape: torch.Size | tuple[int, ...], draw: Callable[[Distribution, torch.Size], Tensor]
    ) -> Tensor:
        shape = torch.Size((*sample_shape, *self.batch_shape))
        draws = [draw(part, shape[: len(shape) - len(part.batch_shape)]) for part in self.parts]
        return torch.cat([each.expand(*shape, -1) for each in draws], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats, the sum over the parts."""
        densities = [part.log_prob(value[..., block]) for part, block in zip(self.parts, self.columns, strict=True)]
        return sum(densities[1:], start=densities[0])

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Blocks:
        """The same over a larger batch."""
        return Blocks([part.expand(torch.Size(batch_shape)) for part in self.parts])

    def _moment(self, moment: Callable[[Distribution], Tensor]) -> Tensor:
        return torch.cat([moment(part).expand(*self.batch_shape, -1) for part in self.parts], -1)


class Selected(_Composite):
    """Some columns of a distribution whose marginals have no closed form: draws and moments, but no density."""

    def __init__(self, whole: Distribution, columns: slice) -> None:
        self.whole, self.columns = whole, columns
        self.has_rsample = whole.has_rsample
        width = len(range(*columns.indices(whole.event_shape[-1])))
        super().__init__(whole.batch_shape, torch.Size((*whole.event_shape[:-1], width)), validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Reparameterised draws ``[*sample_shape, *batch, width]``."""
        return self.whole.rsample(torch.Size(sample_shape))[..., self.columns]

    def log_prob(self, value: Tensor) -> Tensor:
        """Not available: the marginal has no closed form."""
        raise NotImplementedError(
            f"some columns of a {type(self.whole).__name__} have no density of their own; score whole latents."
        )

    def _moment(self, moment: Callable[[Distribution], Tensor]) -> Tensor:
        return moment(self.whole)[..., self.columns]


def _is_family(distribution: Distribution, family: type[Distribution]) -> bool:
    """Whether a distribution is one of a family with independent columns."""
    return (
        isinstance(distribution, Independent)
        and distribution.reinterpreted_batch_ndims == 1
        and isinstance(distribution.base_dist, family)
    )


def _cat(parts: Sequence[Any], parameter: Callable[[Any], Tensor], dim: int = 0) -> Tensor:
    return torch.cat([parameter(part) for part in parts], dim)
