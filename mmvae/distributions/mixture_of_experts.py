"""A mixture of location-scale experts, with draws stratified over the components."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

Family = type[dist.Normal] | type[dist.Laplace]


class MixtureOfExperts(TorchDistribution):
    """q(z) = Σ_c weight_c q_c(z), with diagonal Normal or Laplace components.

    Draws are differentiable in the components' parameters: a component is chosen, then reparameterised. No gradient
    flows from draws into weights; densities are differentiable in them.

    Args:
        loc: ``[C, *batch, D]``.
        scale: ``[C, *batch, D]``, the standard deviation of a Normal or the scale of a Laplace.
        weights: ``[C, *batch]``, not negative, not all zero; they are normalised. Zero where a component is absent. All
            are equal by default.
        family: ``pyro.distributions.Normal`` or ``Laplace``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (Pyro's own declaration)
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Float[Tensor, "C *batch D"],
        scale: Float[Tensor, "C *batch D"],
        weights: Float[Tensor, "C *batch"] | None = None,
        family: Family = dist.Normal,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self.family = loc, scale, family
        self._is_even = weights is None
        if weights is None:
            self.weights = loc.new_full((), 1 / len(loc)).expand(loc.shape[:-1])
        else:
            self.weights = weights / weights.sum(0)
        super().__init__(torch.Size(loc.shape[1:-1]), torch.Size(loc.shape[-1:]), validate_args=validate_args)

    @property
    def num_components(self) -> int:
        """C, absent components included."""
        return self.loc.shape[0]

    @property
    def _log_weights(self) -> Float[Tensor, "C *batch"]:
        """-inf where a component is absent, without a gradient there."""
        has = self.weights > 0
        return torch.where(has, torch.where(has, self.weights, 1.0).log(), -torch.inf)

    @property
    def _component_dim(self) -> int:
        """Where the components stand among the dimensions ``[*sample, C, *batch]``."""
        return -1 - len(self.batch_shape)

    @property
    def components(self) -> Distribution:
        """The components, as one distribution of batch shape ``[C, *batch]``."""
        return self.family(self.loc, self.scale).to_event(1)

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        """The weighted mean of the components' locations."""
        return (self.weights.unsqueeze(-1) * self.loc).sum(0)

    @property
    def variance(self) -> Float[Tensor, "*batch D"]:
        """The mean of the components' variances plus the variance of their locations."""
        weights = self.weights.unsqueeze(-1)
        spread = self.components.variance + (self.loc - self.mean).square()
        return (weights * spread).sum(0)

    def log_prob(self, value: Float[Tensor, "*value D"]) -> Float[Tensor, "*sample"]:
        """log q(value), in nats; the value and the batch are broadcast."""
        return (self.component_log_prob(value) + self._log_weights).logsumexp(self._component_dim)

    def component_log_prob(self, value: Float[Tensor, "*value D"]) -> Float[Tensor, "*sample"]:
        """log q_c(value) of each component, ``[*sample, C, *batch]``."""
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape))
        return self.components.log_prob(value.unsqueeze(self._component_dim - 1))

    def responsibilities(self, value: Float[Tensor, "*value D"]) -> Float[Tensor, "*sample"]:
        """The probability that each component gave the value, ``[*sample, C, *batch]``."""
        return (self.component_log_prob(value) + self._log_weights).softmax(self._component_dim)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Independent draws ``[*sample_shape, *batch, D]``."""
        shape = torch.Size(sample_shape)
        uniform = torch.rand((*shape, *self.batch_shape), dtype=self.loc.dtype, device=self.loc.device)
        draws = self._draw(self._component_at(uniform.reshape(-1, *self.batch_shape)))
        return draws.reshape(*shape, *self.batch_shape, *self.event_shape)

    def stratified_rsample(self, num_samples: int) -> Float[Tensor, "K *batch D"]:
        """K draws of which each component has its share, to within one draw.

        Systematic sampling of the component: positions (k + u) / K with one uniform u per row are read off the
        cumulative weights, so every component has K times its weight draws in expectation, and exactly that many
        where the number is whole. An average over the draws estimates the expectation under the mixture without bias.
        """
        return next(self.stratified_parts(num_samples, num_samples))

    def stratified_parts(self, num_samples: int, size: int) -> Iterator[Float[Tensor, "k *batch D"]]:
        """The K draws of :meth:`stratified_rsample`, at most ``size`` at a time; shares are of all together."""
        dtype, device = self.loc.dtype, self.loc.device
        offset = torch.rand(self.batch_shape, dtype=dtype, device=device)
        for steps in torch.arange(num_samples, dtype=dtype, device=device).split(size):
            position = (steps.reshape(-1, *(1,) * len(self.batch_shape)) + offset) / num_samples
            yield self._draw(self._component_at(position))

    def batch_rsample(self) -> Float[Tensor, "N D"]:
        """One draw per row of a batch ``[N]``, stratified over the batch.

        The rows stand in a random order at positions (k + u) / N, with one uniform u, and each takes the component into
        whose share its position falls. So a row draws each component with exactly its weight, and the batch as a whole
        has of each component its share, to within one draw.
        """
        (size,) = self.batch_shape
        order = torch.rand(size, device=self.loc.device).argsort()
        offset = torch.rand((), dtype=self.loc.dtype, device=self.loc.device)
        position = (order.to(self.loc.dtype) + offset) / size
        return self._draw(self._component_at(position.unsqueeze(0))).squeeze(0)

    def component_rsample(self, num_samples: int) -> Float[Tensor, "K C *batch D"]:
        """K draws from every component."""
        return self.components.rsample((num_samples,))

    def own_share(self, own: Float[Tensor, "K C N"]) -> Float[Tensor, "K C N 1"]:
        """Share of the density's slope at each column that is a draw's own component's, given its responsibility."""
        return own.unsqueeze(-1)

    def detach(self) -> MixtureOfExperts:
        """The same mixture, through which no gradient flows."""
        weights = None if self._is_even else self.weights
        return MixtureOfExperts(self.loc.detach(), self.scale.detach(), weights, self.family, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> MixtureOfExperts:
        """The mixture repeated over a larger batch."""
        shape = torch.Size(batch_shape)
        padding = (1,) * (len(shape) - len(self.batch_shape))

        def stretch(parameter: Tensor, tail: tuple[int, ...]) -> Tensor:
            count, rest = parameter.shape[0], parameter.shape[1:]
            return parameter.reshape(count, *padding, *rest).expand(count, *shape, *tail)

        tail = tuple(self.event_shape)
        return MixtureOfExperts(
            stretch(self.loc, tail), stretch(self.scale, tail), stretch(self.weights, ()), self.family, False
        )

    def _component_at(self, position: Float[Tensor, "K *batch"]) -> Int[Tensor, "K *batch"]:
        """The component into whose share of the unit interval each position falls; never one of weight zero."""
        if self._is_even:
            return (position * self.num_components).long().clamp(max=self.num_components - 1)
        upper = self.weights.cumsum(0)
        below_total = position * upper[-1]  # rounding must not push a position past the last component
        index = (below_total.unsqueeze(1) >= upper).sum(1)
        last = self.weights.ne(0).to(torch.int64).cumsum(0).argmax(0)  # the last component that has weight
        return torch.minimum(index, last)

    def _draw(self, component: Int[Tensor, "K *batch"]) -> Float[Tensor, "K *batch D"]:
        index = component.unsqueeze(-1).expand(*component.shape, *self.event_shape)
        return self.family(self.loc.gather(0, index), self.scale.gather(0, index)).rsample()


def stratified_draws(distribution: Distribution, num_samples: int) -> Float[Tensor, "K *batch D"]:
    """K reparameterised draws of any posterior, stratified over the components where it is a mixture.

    Raises:
        ValueError: if K is below one.
    """
    return next(stratified_parts(distribution, num_samples, num_samples))


def stratified_parts(distribution: Distribution, num_samples: int, size: int) -> Iterator[Float[Tensor, "k *batch D"]]:
    """The draws of :func:`stratified_draws`, at most ``size`` at a time.

    Raises:
        ValueError: if K is below one.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1, got {num_samples}.")
    if isinstance(distribution, MixtureOfExperts):
        yield from distribution.stratified_parts(num_samples, size)
        return
    for start in range(0, num_samples, size):
        yield distribution.rsample((min(size, num_samples - start),))
