"""A product of posteriors in which the prior counts once."""

from __future__ import annotations

import pyro.distributions as dist
from jaxtyping import Bool
from torch import Tensor
from torch.distributions import Distribution

from mmvae.distributions.product_of_gaussians import corrected_product_of_gaussians
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import Experts


class CorrectedProduct(Fusion):
    """q(z | x_S) ∝ Π_{m in S} q_m(z | x_m) / p(z)^(|S| - 1), with a standard normal prior.

    Posteriors of single modalities contain the prior, so a plain product counts it |S| times and is too sure. Dividing
    it out is exact where the modalities are independent given z and each q_m is the true posterior. Where posteriors
    are wider than the prior, the product is no wider than the widest of them.

    Source: see :func:`~mmvae.distributions.corrected_product_of_gaussians`.
    """

    families = (dist.Normal,)

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> Distribution:
        """The product of the given experts, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        loc, scale = corrected_product_of_gaussians(
            experts.loc, experts.scale, observed=experts.observed, members=members, speaks=experts.speaks
        )
        return dist.Normal(loc, scale).to_event(1)
