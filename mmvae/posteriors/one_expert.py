"""The posterior of one modality, whatever else is there (DVCCA)."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Bool
from torch import Tensor
from torch.distributions import Distribution

from mmvae.posteriors.base import SharedFusion
from mmvae.posteriors.experts import Experts


class OneExpert(SharedFusion):
    """q(z | x_S) = q_m(z | x_m) for one modality m; the standard normal where m is not in S.

    Private columns follow their owner's expert.

    Args:
        name: Name of the modality.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def fuse_shared(self, experts: Experts, members: Bool[Tensor, "S M"] | None) -> Distribution:
        """The expert, where it is there."""
        if self.name in experts.names:
            row = experts.names.index(self.name)
            loc, scale = experts.loc[row], experts.scale[row]
            has = experts.presence(members)[..., row, :].unsqueeze(-1) > 0
            if members is not None or experts.observed is not None:
                loc, scale = torch.where(has, loc, 0.0), torch.where(has, scale, 1.0)
        else:
            shape = experts.loc.shape[1:] if members is None else (len(members), *experts.loc.shape[1:])
            loc, scale = experts.loc.new_zeros(shape), experts.loc.new_ones(shape)
        return dist.Normal(loc, scale).to_event(1)
