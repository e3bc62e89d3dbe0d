"""A geometric mean of posteriors with learned weights (gPoE, mmJSD)."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.choices import check_count
from mmvae.distributions.product_of_gaussians import pool_of_gaussians
from mmvae.posteriors.base import SharedFusion
from mmvae.posteriors.experts import Experts


class GeometricPool(SharedFusion):
    """q(z | x_S) ∝ Π_{m in S} q_m(z | x_m)^α_m, with Σ_{m in S} α_m = 1 in each shared column.

    The weights are learned, and start equal. For each row they are normalised over the modalities that are there, so
    that a single modality is inferred by its own expert.

    Args:
        num_modalities: Number of modalities of the model.
        latent_dim: Number of shared columns.

    Raises:
        ValueError: For sizes below one.

    Source: Cao and Fleet 2014; Lawry Aguila et al. 2023, "Multi-modal variational autoencoders for normative modelling
    across multiple imaging modalities", whose weights lie between 0 and 1 without a sum, and are cut off there.
    """

    def __init__(self, num_modalities: int, latent_dim: int) -> None:
        super().__init__()
        check_count("num_modalities", num_modalities, 1)
        check_count("latent_dim", latent_dim, 1)
        self.logits = nn.Parameter(torch.zeros(num_modalities, latent_dim))

    @property
    def weights(self) -> Float[Tensor, "M D"]:
        """α where every modality is there: how much each counts in each column."""
        return self.logits.softmax(0)

    def fuse_shared(self, experts: Experts, members: Bool[Tensor, "S M"] | None) -> Distribution:
        """The pool of the given experts."""
        weights = self.weights
        if experts.names != experts.everyone:
            weights = torch.stack([weights[experts.everyone.index(name)] for name in experts.names])
        loc, scale = pool_of_gaussians(experts.loc, experts.scale, weights, observed=experts.observed, members=members)
        return dist.Normal(loc, scale).to_event(1)
