"""Standard normal noise that all rows share, so that refinement is deterministic and rows do not interact."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def balanced_noise(
    num_samples: int, latent_dim: int, generator: torch.Generator, like: Tensor
) -> Float[Tensor, "K 1 D"]:
    """K standard normal draws, to be shared by all rows.

    An even number of draws comes in pairs ε, -ε, so that linear functions are averaged exactly. From 2 D draws on, the
    pairs are also made to have the identity as their second moment: then quadratic functions are averaged exactly, and
    with them the ELBO of every model whose log-likelihoods are quadratic in z.

    Args:
        num_samples: K.
        latent_dim: D.
        generator: on the CPU, from which is drawn.
        like: whose type and device the noise has.
    """
    if num_samples % 2:
        noise = torch.randn(num_samples, latent_dim, generator=generator, dtype=torch.float64)
    else:
        half = torch.randn(num_samples // 2, latent_dim, generator=generator, dtype=torch.float64)
        if len(half) >= latent_dim:
            half = torch.linalg.qr(half)[0] * len(half) ** 0.5  # orthonormal columns: halfᵀ half / P = I
        noise = torch.cat([half, -half])
    return noise.unsqueeze(1).to(like)
