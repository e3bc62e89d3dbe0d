"""Mixture of experts (MMVAE)."""

from __future__ import annotations

from mmvae.batch import Batch
from mmvae.distributions.mixture_of_experts import MixtureOfExperts
from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import Experts, UnimodalExperts


class Mixture(JointPosterior):
    """q(z | x_S) = (1 / |S|) Σ_{m in S} q_m(z | x_m), over the members that are observed.

    Source: Shi et al. 2019, "Variational mixture-of-experts autoencoders for multi-modal deep generative models".
    """

    def forward(self, batch: Batch, experts: UnimodalExperts) -> MixtureOfExperts:
        """The mixture over all modalities of the batch."""
        return self.fuse(experts(batch))

    def fuse(self, experts: Experts) -> MixtureOfExperts:
        """The mixture of the given experts, of batch shape ``[N]``."""
        return MixtureOfExperts(experts.loc, experts.scale, experts.weights, experts.family)
