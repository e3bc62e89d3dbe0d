"""The prior of the latent."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.distributions.mixture_of_experts import Family
from mmvae.networks.heads import budgeted_scale


class Prior(nn.Module):
    """A diagonal prior around zero: standard, or with scales that are learned under a budget of D.

    Args:
        latent_dim: D.
        family: ``pyro.distributions.Normal`` or ``Laplace``.
        learned_scale: learn the scales; they start at one and their mean stays one (Shi et al. 2019).
    """

    loc: Tensor

    def __init__(self, latent_dim: int, family: Family = dist.Normal, learned_scale: bool = False) -> None:
        super().__init__()
        self.family = family
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.raw_scale = nn.Parameter(torch.zeros(latent_dim)) if learned_scale else None

    @property
    def scale(self) -> Tensor:
        """``[D]``."""
        return torch.ones_like(self.loc) if self.raw_scale is None else budgeted_scale(self.raw_scale)

    def forward(self) -> Distribution:
        """p(z), of batch shape ``[]`` and event shape ``[D]``."""
        return self.family(self.loc, self.scale).to_event(1)
