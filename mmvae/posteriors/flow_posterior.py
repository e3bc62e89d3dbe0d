"""A normalising flow on top of a fusion of experts: posteriors that are not Gaussian."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.distributions.flowed import Flowed, spline_flow
from mmvae.distributions.moments import mean_of, variance_of
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import Experts


class Flow(Fusion):
    """q(z | x_S): the fusion of the experts of S, pushed through a flow that reads its location and scale.

    One flow serves every subset. It starts at the identity, so that training starts from the fusion.

    Args:
        base: Fusion under the flow, such as ``Product(prior_expert=True)``.
        latent_dim: D, of the whole latent.
        transforms: Number of coupling layers, at least 1.
        hidden: Width of the two hidden layers of each of their networks, at least 1.
        bins: Number of bins of the splines, at least 2.

    Raises:
        ValueError: For sizes out of range.
        TypeError: For a base that is not a fusion.

    Source: Rezende and Mohamed 2015, "Variational inference with normalizing flows"; Durkan et al. 2019, "Neural
    spline flows". To put one flow on top of a product of experts is this library's.
    """

    def __init__(self, base: Fusion, latent_dim: int, transforms: int = 2, hidden: int = 64, bins: int = 8) -> None:
        super().__init__()
        if not isinstance(base, Fusion):
            raise TypeError(f"base: expected a fusion of experts such as Product, got {type(base).__name__}.")
        self.base, self.families = base, base.families
        self.flow = spline_flow(latent_dim, 2 * latent_dim, transforms=transforms, hidden=hidden, bins=bins)

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> Flowed:
        """The flow on top of the fusion, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        base = self.base.fuse(experts, members)
        return Flowed(base, self.flow(torch.cat([mean_of(base), variance_of(base).sqrt().log()], -1)))
