"""A normalising flow as the prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from mmvae.distributions.flowed import Flowed, spline_flow
from mmvae.priors.base import Prior


class Flow(Prior):
    """The standard normal pushed through a neural spline flow with coupling layers.

    Density and draws cost one pass each. Of a model with covariates the flow depends on them: p(z | c).

    Args:
        transforms: Number of coupling layers, at least 1.
        hidden: Width of the two hidden layers of each of their networks, at least 1.
        bins: Number of bins of the splines, at least 2.

    Raises:
        ValueError: For sizes out of range, when a model makes it.

    Source: Durkan et al. 2019, "Neural spline flows", as zuko implements it.
    """

    loc: Tensor

    def __init__(self, transforms: int = 4, hidden: int = 64, bins: int = 8) -> None:
        super().__init__()
        self.transforms, self.hidden, self.bins = transforms, hidden, bins

    def build(self) -> None:
        """The networks of the coupling layers."""
        self.flow = spline_flow(
            self.latent_dim, self.context_dim, transforms=self.transforms, hidden=self.hidden, bins=self.bins
        )
        self.register_buffer("loc", torch.zeros(self.latent_dim), persistent=False)

    def forward(self, context: Tensor | None = None) -> Distribution:
        """p(z), of batch shape ``[]`` (``[N]`` with covariates) and event shape ``[D]``."""
        base = dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(1)
        return Flowed(base if context is None else base.expand(context.shape[:-1]), self.flow(context))
