"""A learned fusion that sums over the set of modalities that are there."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.choices import check_count
from mmvae.networks.heads import NormalHead
from mmvae.posteriors.base import SharedFusion
from mmvae.posteriors.experts import Experts


class SetPooling(SharedFusion):
    """q(z | x_S) = N(f(Σ_{m in S} g(x_m))): what modalities say is summed, and a network reads the sum.

    g is one network for all modalities, over the location and the logarithm of the scale that each modality's own
    encoder gives. So the order of modalities does not matter, and one network serves every subset. A row that has none
    of a subset gets the standard normal.

    Args:
        latent_dim: Number of shared columns.
        hidden: Width of the hidden layers of f and g, at least 1.
        pooled: Width of the sum, at least 1.

    Raises:
        ValueError: For sizes below one.

    Source: Hirt et al. 2024, "Learning multi-modal generative models with permutation-invariant encoders and tighter
    variational objectives" (SumPooling), after Zaheer et al. 2017 (deep sets). The paper sums features of encoders,
    where here they are 2 D numbers, and learns the posterior of the empty set.
    """

    def __init__(self, latent_dim: int, hidden: int = 128, pooled: int = 128) -> None:
        super().__init__()
        for name, value in (("latent_dim", latent_dim), ("hidden", hidden), ("pooled", pooled)):
            check_count(name, value, 1)
        self.each = nn.Sequential(nn.Linear(2 * latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, pooled))
        self.together = nn.Sequential(nn.Linear(pooled, hidden), nn.ReLU())
        self.head = NormalHead(hidden, latent_dim)

    def fuse_shared(self, experts: Experts, members: Bool[Tensor, "S M"] | None) -> Distribution:
        """The network's posterior of the given experts."""
        features = self.each(torch.cat([experts.loc, experts.scale.log()], -1))  # [M, N, P]
        presence = experts.presence(members)  # [*S, M, N]
        pooled = (presence.unsqueeze(-1) * features).sum(-3)  # [*S, N, P]
        loc, scale = self.head(self.together(pooled.flatten(0, -2)))
        if members is not None:
            loc, scale = (each.unflatten(0, pooled.shape[:-1]) for each in (loc, scale))
        if members is not None or experts.observed is not None:
            has = (presence.sum(-2) > 0).unsqueeze(-1)
            loc, scale = torch.where(has, loc, 0.0), torch.where(has, scale, 1.0)
        return dist.Normal(loc, scale).to_event(1)
