"""A product of posteriors in which the prior counts once."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import Experts, UnimodalExperts


class CorrectedProduct(JointPosterior):
    """q(z | x_S) ∝ Π_{m in S} q_m(z | x_m) / p(z)^(|S| - 1), with a standard normal prior.

    Posteriors of single modalities contain the prior, so a plain product counts it |S| times and is too sure. Dividing
    it out is exact where the modalities are independent given z and each q_m is the true posterior. Where several come
    together, one that is wider than the prior is taken to be as wide; otherwise precisions could turn negative.

    Source: the factor p(z)^(|S| - 1) is that of Wu and Goodman 2018, section 2.2; the care for wide ones is this
    library's.
    """

    def forward(self, batch: Batch, experts: UnimodalExperts) -> Distribution:
        """The product over all modalities of the batch."""
        return self.fuse(experts(batch))

    def fuse(self, experts: Experts) -> Distribution:
        """The product of the given experts, of batch shape ``[N]``."""
        surplus = (experts.weights.sum(0) - 1).unsqueeze(-1)  # [N, 1]: how often the prior is counted too much
        scale = torch.where(surplus > 0, experts.scale.clamp(max=1.0), experts.scale)
        loc, scale = product_of_gaussians(experts.loc, scale, observed=experts.observed)
        precision = scale.square().reciprocal()  # [N, D]
        corrected = precision - surplus
        return dist.Normal(precision * loc / corrected, corrected.rsqrt()).to_event(1)
