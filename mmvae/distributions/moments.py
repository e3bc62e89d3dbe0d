"""Mean and variance of any distribution, by draws where there is no closed form."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

_DRAWS = 512
_SEED = 0


def mean_of(distribution: Distribution) -> Tensor:
    """The mean ``[*batch, *event]``: its own, or the average of 512 draws that are the same at every call."""
    try:
        return distribution.mean
    except NotImplementedError:
        return _draws(distribution).mean(0)


def variance_of(distribution: Distribution) -> Tensor:
    """The variance ``[*batch, *event]``: its own, or that of 512 draws that are the same at every call."""
    try:
        return distribution.variance
    except NotImplementedError:
        return _draws(distribution).var(0)


def _draws(distribution: Distribution) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        return distribution.rsample((_DRAWS,)) if distribution.has_rsample else distribution.sample((_DRAWS,))
