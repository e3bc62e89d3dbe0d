"""What the tests of refinement share: the yardstick's bound in closed form, and models in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmvae import Batch
from mmvae.refinement import Gaussian
from mmvae.testing import LinearGaussian

YARDSTICK = LinearGaussian.random({"a": 3, "b": 4, "c": 2}, latent_dim=3, seed=2)
"""Its posteriors are correlated, so no diagonal Gaussian is exact."""

WEIGHTS = {"a": 0.5, "b": 2.0, "c": 3.0}


def gaussian(size: int = 5, latent_dim: int = 3, seed: int = 4, dtype: torch.dtype = torch.float32) -> Gaussian:
    """Anything but an optimum."""
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(size, latent_dim, generator=generator, dtype=torch.float64)
    scale = 0.1 + torch.rand(size, latent_dim, generator=generator, dtype=torch.float64)
    return Gaussian(loc.to(dtype), scale.to(dtype))


def exact_bound(
    yardstick: LinearGaussian,
    data: Mapping[str, Tensor],
    loc: Tensor,
    log_variance: Tensor,
    weights: Mapping[str, float] | None = None,
    beta: float = 1.0,
) -> Tensor:
    """Σ_m w_m E_q[log p(x_m | z)] - β KL(q || p) of the modalities in the data, without any draw, ``[N]``."""
    variance = log_variance.exp()
    total = -0.5 * beta * (variance + loc**2 - 1 - log_variance).sum(-1)
    for name, x in data.items():
        loading, sigma = yardstick.loadings[name], yardstick.scales[name]
        residual = x.double() - yardstick.offsets[name] - loc @ loading.T
        squares = (residual**2).sum(-1) + variance @ (loading**2).sum(0)  # E‖x - W z - b‖²
        log_p = -0.5 * squares / sigma**2 - 0.5 * x.shape[1] * math.log(2 * math.pi * sigma**2)
        total = total + (1.0 if weights is None else weights[name]) * log_p
    return total


def in_float64(
    model: Any, data: Mapping[str, Tensor], observed: Mapping[str, Tensor] | None = None
) -> tuple[Any, Batch]:
    """A copy of a model, and data for it, in which every number has twice the digits."""
    batch = model.prepare(data, observed)
    model = copy.deepcopy(model).double()
    wide = {name: x.double() if x.is_floating_point() else x for name, x in batch.data.items()}
    return model, Batch.trusted(wide, None if batch.complete else batch.observed, conforms_to=model.forms)
