"""A product of posteriors in which the prior counts once."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Bool
from torch import Tensor
from torch.distributions import Distribution

from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import Experts


class CorrectedProduct(Fusion):
    """q(z | x_S) ∝ Π_{m in S} q_m(z | x_m) / p(z)^(|S| - 1), with a standard normal prior.

    Posteriors of single modalities contain the prior, so a plain product counts it |S| times and is too sure. Dividing
    it out is exact where the modalities are independent given z and each q_m is the true posterior. Where experts
    are wider than the prior, the difference could turn negative: the result is never wider than the widest expert.

    Source: the factor p(z)^(|S| - 1) is that of Wu and Goodman 2018, section 2.2; the floor for wide ones is this
    library's.
    """

    families = (dist.Normal,)

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> Distribution:
        """The product of the given experts, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        speaks = experts.speaks
        presence = experts.presence(members).unsqueeze(-1)  # [*S, M, N, 1]
        counted = presence if speaks is None else presence * speaks.unsqueeze(1)
        surplus = (counted.sum(-3) - 1).clamp(min=0)  # [*S, N, D]: how often the prior is counted too much
        loc, scale = product_of_gaussians(
            experts.loc, experts.scale, observed=experts.observed, members=members, speaks=speaks
        )
        precision = scale.square().reciprocal()
        each = experts.scale.square().reciprocal()
        least = torch.where(counted > 0, each, torch.inf).amin(-3)  # of the widest expert
        corrected = torch.maximum(precision - surplus, torch.minimum(least, precision))
        return dist.Normal(precision * loc / corrected, corrected.rsqrt()).to_event(1)
