"""Mixture of experts (MMVAE)."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from mmvae.distributions.mixture_of_experts import MixtureOfExperts
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import Experts


class Mixture(Fusion):
    """q(z | x_S) = (1 / |S|) Σ_{m in S} q_m(z | x_m), over the members that are observed.

    Private columns are not mixed: in every component they follow their owner's expert, or the standard distribution
    where the owner is missing.

    Source: Shi et al. 2019, "Variational mixture-of-experts autoencoders for multi-modal deep generative models".
    """

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> MixtureOfExperts:
        """The mixture of the given experts, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        loc, scale = experts.with_private_of_others(members)
        if experts.observed is None and members is None:
            return MixtureOfExperts(loc, scale, family=experts.family)
        weights = experts.presence(members).movedim(-2, 0)  # [M, *S, N]
        if members is not None:  # of rows that have no member, the components are standard
            nobody = weights.sum(0) == 0
            weights = weights + nobody
            loc = loc.masked_fill(nobody[..., None], 0.0)
            scale = scale.masked_fill(nobody[..., None], 1.0)
        return MixtureOfExperts(loc, scale, weights, experts.family)
