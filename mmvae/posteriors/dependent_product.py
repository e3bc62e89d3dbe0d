"""A product of posteriors whose errors are correlated (CoDE-VAE)."""

from __future__ import annotations

import pyro.distributions as dist
from jaxtyping import Bool
from torch import Tensor
from torch.distributions import Distribution

from mmvae.distributions.product_of_gaussians import product_of_dependent_gaussians
from mmvae.posteriors.base import SharedFusion
from mmvae.posteriors.experts import Experts


class DependentProduct(SharedFusion):
    """q(z | x_S): the consensus of experts whose errors have one correlation.

    A correlation of zero gives the product of experts without the prior. With a higher one, further modalities that say
    the same make the posterior less sure than a product would be.

    Args:
        correlation: ρ of each pair of experts, from 0 to below 1.

    Raises:
        ValueError: For a correlation outside of that range.

    Source: see :func:`~mmvae.distributions.product_of_dependent_gaussians`.
    """

    def __init__(self, correlation: float) -> None:
        super().__init__()
        if not 0 <= correlation < 1:
            raise ValueError(f"correlation: expected a number from 0 to below 1, got {correlation!r}.")
        self.correlation = correlation

    def fuse_shared(self, experts: Experts, members: Bool[Tensor, "S M"] | None) -> Distribution:
        """The consensus of the given experts."""
        loc, scale = product_of_dependent_gaussians(
            experts.loc, experts.scale, self.correlation, observed=experts.observed, members=members
        )
        return dist.Normal(loc, scale).to_event(1)
