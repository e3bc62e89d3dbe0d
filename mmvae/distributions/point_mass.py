"""The posterior of deterministic models: all mass at one point."""

from __future__ import annotations

import pyro.distributions as dist
from jaxtyping import Float
from torch import Tensor


def point_mass(z: Float[Tensor, "N *T D"]) -> dist.Delta:
    """A point mass at each datum's latent, of batch shape ``[N]``; its mean is the latent, its variance zero.

    Args:
        z: latents, ``[N, D]``, or sequences of them, ``[N, T, D]``.
    """
    return dist.Delta(z, event_dim=z.ndim - 1)
