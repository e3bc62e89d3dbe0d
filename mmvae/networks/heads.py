"""Heads: from an encoder's features to the location and scale of a posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.choices import numbers_checked
from mmvae.distributions.full_precision import at_least_float32, without_autocast
from mmvae.distributions.soft_clamp import soft_clamp

_LOG_VARIANCE_BOUNDS = (-15.0, 15.0)
_SOFTMAX_FLOOR = 1e-6
_LEAST_LOG_SHARE = -14.0
"""Of a budget: a smaller share would lie below the floor, without a gradient."""


class Head(nn.Module, ABC):
    """One linear layer to 2 D numbers, computed in the precision of its weights whatever the precision around it."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * latent_dim)

    def forward(self, features: Float[Tensor, "N F"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
        """Location and scale."""
        return self.read(self.outputs(features))

    def outputs(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N E"]:
        """The E = 2 D numbers of the layer, in at least float32."""
        with without_autocast(features):
            return at_least_float32(self.linear(features.to(self.linear.weight.dtype)))

    @staticmethod
    @abstractmethod
    def read(outputs: Float[Tensor, "*N E"]) -> tuple[Float[Tensor, "*N D"], Float[Tensor, "*N D"]]:
        """Location and scale from outputs, those of several heads too if they are stacked."""


@numbers_checked
class NormalHead(Head):
    """Features to the location and standard deviation of a Normal; the network speaks in log-variances.

    Log-variances are taken as they are from -15 to 15 and softly bounded beyond, at -18 and 18: so scales have a floor
    of 1.2e-4, and a gradient wherever they are. Computed in float32 under autocast.
    """

    @staticmethod
    def read(outputs: Float[Tensor, "*N E"]) -> tuple[Float[Tensor, "*N D"], Float[Tensor, "*N D"]]:
        """Location and standard deviation."""
        loc, log_variance = outputs.chunk(2, -1)
        return loc, (0.5 * soft_clamp(log_variance, *_LOG_VARIANCE_BOUNDS)).exp()


@numbers_checked
class LaplaceHead(Head):
    """Features to the location and scale of a Laplace; the D scales of a row share a budget of D.

    With one latent dimension a budget would leave no choice: the scale would be 1 whatever the data. There it is free,
    with the logarithm bounded as half a log-variance of :class:`NormalHead`. Computed in float32 under autocast.

    Source: Shi et al. 2019, whose code sets ``scale = D * softmax(raw) + 1e-6``. That a scale far below its share keeps
    a gradient, and the free scale for D = 1, are this library's.
    """

    @staticmethod
    def read(outputs: Float[Tensor, "*N E"]) -> tuple[Float[Tensor, "*N D"], Float[Tensor, "*N D"]]:
        """Location and scale."""
        loc, raw = outputs.chunk(2, -1)
        if raw.shape[-1] == 1:
            return loc, (0.5 * soft_clamp(2 * raw, *_LOG_VARIANCE_BOUNDS)).exp()
        return loc, budgeted_scale(raw)


def budgeted_scale(raw: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
    """Positive scales whose mean over the latent dimensions is one.

    ``D softmax(raw) + 1e-6``, with ``raw`` softly bounded from 14 below its largest on, where the floor takes over.
    """
    below = raw - raw.amax(-1, keepdim=True).detach()
    return raw.shape[-1] * torch.softmax(soft_clamp(below, _LEAST_LOG_SHARE, 0.0), -1) + _SOFTMAX_FLOOR
