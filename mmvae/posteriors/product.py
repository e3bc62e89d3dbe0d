"""Product of experts (MVAE, MVTCAE)."""

from __future__ import annotations

import pyro.distributions as dist
from jaxtyping import Bool
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import Experts, UnimodalExperts


class Product(JointPosterior):
    """q(z | x_S) ∝ Π_{m in S} q_m(z | x_m), times p(z) if the prior is an expert.

    Args:
        prior_expert: whether the standard normal prior is one of the experts.

    Source: Wu and Goodman 2018 (with the prior); Hwang et al. 2021 (without).
    """

    def __init__(self, prior_expert: bool) -> None:
        super().__init__()
        self.prior_expert = prior_expert

    def forward(self, batch: Batch, experts: UnimodalExperts) -> Distribution:
        """The product over all modalities of the batch."""
        return self.fuse(experts(batch))

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> dist.Independent:
        """The products over several subsets at once, of batch shape ``[S, N]`` (``[N]`` for the one over all)."""
        loc, scale = product_of_gaussians(
            experts.loc,
            experts.scale,
            observed=experts.observed,
            members=members,
            prior_precision=float(self.prior_expert),
        )
        return dist.Normal(loc, scale).to_event(1)
