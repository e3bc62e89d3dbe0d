"""A product of posteriors in which the prior counts once."""

from __future__ import annotations

import pyro.distributions as dist
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions.product import corrected_product_of_gaussians
from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import Experts, UnimodalExperts


class CorrectedProduct(JointPosterior):
    """q(z | x_S) ∝ Π_{m in S} q_m(z | x_m) / p(z)^(|S| - 1), with a standard normal prior.

    Posteriors of single modalities contain the prior, so a plain product counts it |S| times and is too sure. Dividing
    it out is exact where the modalities are independent given z and each q_m is the true posterior. Where posteriors
    are wider than the prior, the product is at most as wide as the widest of them.

    Source: see :func:`~mmvae.distributions.corrected_product_of_gaussians`.
    """

    def forward(self, batch: Batch, experts: UnimodalExperts) -> Distribution:
        """The product over all modalities of the batch."""
        return self.fuse(experts(batch))

    def fuse(self, experts: Experts) -> Distribution:
        """The product of the given experts, of batch shape ``[N]``."""
        loc, scale = corrected_product_of_gaussians(experts.loc, experts.scale, observed=experts.observed)
        return dist.Normal(loc, scale).to_event(1)
