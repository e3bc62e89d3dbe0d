"""Any posterior as a mixture, if only of one component."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent

from mmvae.distributions.mixture_of_experts import MixtureOfExperts


@runtime_checkable
class Components(Protocol):
    """A posterior that has components, C of them, drawn from and scored one by one."""

    num_components: int
    weights: Tensor

    def component_rsample(self, num_samples: int) -> Tensor:
        """K draws from every component, ``[K, C, N, D]``."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the whole, in nats."""

    def component_log_prob(self, value: Tensor) -> Tensor:
        """Log-density under each component, in nats."""

    def responsibilities(self, value: Tensor) -> Tensor:
        """The probability that each component gave a value."""

    def own_share(self, own: Tensor) -> Tensor:
        """Share of the density's slope at each column that is a draw's own component's."""

    def detach(self) -> Components:
        """The same posterior, through whose parameters no gradient flows."""


class OneComponent:
    """A posterior as a mixture of one component, with what objectives ask of :class:`MixtureOfExperts`.

    Args:
        distribution: Posterior of batch shape ``[N]`` and event shape ``[D]``.
    """

    num_components = 1

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution
        self.weights: Float[Tensor, "1 N"] = torch.ones((1, *distribution.batch_shape))

    def component_rsample(self, num_samples: int) -> Float[Tensor, "K 1 N D"]:
        """K draws of the component."""
        draws = self.distribution.rsample(torch.Size((num_samples,))).unsqueeze(1)
        self.weights = draws.new_ones(draws.shape[1:-1])  # on the device of the draws, which is known only now
        return draws

    def component_log_prob(self, value: Float[Tensor, "*K N D"]) -> Float[Tensor, "*K 1 N"]:
        """Log-density of the component, in nats."""
        return self.log_prob(value).unsqueeze(-2)

    def log_prob(self, value: Float[Tensor, "*K N D"]) -> Float[Tensor, "*K N"]:
        """Log-density of the whole, in nats."""
        return self.distribution.log_prob(value)

    def responsibilities(self, value: Float[Tensor, "*K N D"]) -> Float[Tensor, "*K 1 N"]:
        """Ones."""
        return torch.ones_like(value[..., 0]).unsqueeze(-2)

    def own_share(self, own: Float[Tensor, "K 1 N"]) -> Float[Tensor, "K 1 N 1"]:
        """Share of the density's slope that is the component's: all of it."""
        return own.unsqueeze(-1)

    def detach(self) -> OneComponent:
        """The same posterior, through whose parameters no gradient flows."""
        raise NotImplementedError(f"the parameters of a {type(self.distribution).__name__} cannot be held fixed.")


def as_mixture(posterior: Distribution) -> Components:
    """A mixture as it is; a location-scale posterior as a mixture of itself alone; any other as one component."""
    if isinstance(posterior, MixtureOfExperts):
        return posterior
    if isinstance(posterior, Independent) and isinstance(posterior.base_dist, dist.Normal | dist.Laplace):
        base = posterior.base_dist
        family = dist.Normal if isinstance(base, dist.Normal) else dist.Laplace
        return MixtureOfExperts(base.loc[None], base.scale[None], family=family, validate_args=False)
    return OneComponent(posterior)
