"""Heads: from an encoder's features to the location and scale of a posterior."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LOG_SCALE_BOUNDS = (-7.5, 7.5)
_SOFTMAX_FLOOR = 1e-6


class NormalHead(nn.Module):
    """Features to the location and standard deviation of a Normal; the network speaks in log-variances.

    Log-variances are kept within -15 and 15, so scales have a floor of 5.5e-4.
    """

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * latent_dim)

    def forward(self, features: Float[Tensor, "N F"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
        """Location and standard deviation."""
        loc, log_variance = self.linear(features).chunk(2, -1)
        return loc, (0.5 * log_variance).clamp(*_LOG_SCALE_BOUNDS).exp()


class LaplaceHead(nn.Module):
    """Features to the location and scale of a Laplace; the D scales of a datum share a budget of D.

    Source: Shi et al. 2019, whose code sets ``scale = D * softmax(raw) + 1e-6``.
    """

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * latent_dim)

    def forward(self, features: Float[Tensor, "N F"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
        """Location and scale."""
        loc, raw = self.linear(features).chunk(2, -1)
        return loc, budgeted_scale(raw)


def budgeted_scale(raw: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
    """Positive scales whose mean over the latent dimensions is one."""
    return raw.shape[-1] * torch.softmax(raw, -1) + _SOFTMAX_FLOOR
