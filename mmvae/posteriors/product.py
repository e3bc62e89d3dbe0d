"""Product of experts (MVAE, MVTCAE)."""

from __future__ import annotations

import pyro.distributions as dist
from jaxtyping import Bool
from torch import Tensor

from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import Experts


class Product(Fusion):
    """q(z | x_S) ∝ Π_{m in S} q_m(z | x_m), times p(z) if the prior is an expert.

    Private columns are products too: of their owner's expert, where it is there, and of the prior if it is an expert.

    Args:
        prior_expert: Whether the standard normal is one of the experts.

    Source: Wu and Goodman 2018 (with the prior); Hwang et al. 2021 (without).
    """

    families = (dist.Normal,)

    def __init__(self, prior_expert: bool) -> None:
        super().__init__()
        self.prior_expert = prior_expert

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> dist.Independent:
        """The products over several subsets at once, of batch shape ``[S, N]`` (``[N]`` for the one over all)."""
        loc, scale = product_of_gaussians(
            experts.loc,
            experts.scale,
            observed=experts.observed,
            members=members,
            speaks=experts.speaks,
            prior_precision=float(self.prior_expert),
        )
        return dist.Normal(loc, scale).to_event(1)
