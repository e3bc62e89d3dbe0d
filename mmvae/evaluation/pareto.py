"""Diagnostics of importance weights: effective sample size, and the Pareto shape of their tail."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_SHORTEST_TAIL = 5
_PRIOR_WEIGHT = 10
_PRIOR_SHAPE = 0.5


def effective_sample_size(log_weights: Float[Tensor, "K N"]) -> Float[Tensor, "N"]:
    """(Σ w)² / Σ w² of each column, between 1 and K: how many equal weights would be worth as much.

    Args:
        log_weights: K importance weights for each of N data points, in nats, up to a constant per column.

    Source: Kong 1992.
    """
    log_weights = log_weights.double()
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def pareto_k(log_weights: Float[Tensor, "K N"]) -> Float[Tensor, "N"]:
    """The shape k of a generalised Pareto distribution fitted to the largest weights of each column.

    The tail is the largest min(K / 5, 3 √K) weights. Below :func:`pareto_k_threshold` the importance-weighted estimate
    can be trusted; from 0.7 on it cannot, whatever K is within reason; at 1 the weights have no mean. A column whose
    weights are all equal, up to rounding, has no tail, and gets 0.

    Args:
        log_weights: K importance weights for each of N data points, in nats, up to a constant per column.

    Returns:
        k by column, NaN where K is too small (below 21) for a tail of five.

    Source: Vehtari et al. 2024, "Pareto smoothed importance sampling".
    """
    draws = log_weights.shape[0]
    tail = math.ceil(min(0.2 * draws, 3 * math.sqrt(draws)))
    if tail < _SHORTEST_TAIL:
        return torch.full(log_weights.shape[1:], math.nan, dtype=torch.float64, device=log_weights.device)
    log_weights = log_weights.double()
    largest = log_weights.topk(tail + 1, dim=0).values.flip(0)  # [T + 1, N], ascending
    shifted = (largest - largest[-1]).exp()
    exceedances = shifted[1:] - shifted[0]
    rounding = 1e-6 * (1 + largest[-1].abs())  # of weights that were computed in float32
    flat = largest[-1] - largest[0] <= rounding
    safe = torch.where(flat, torch.linspace(0.1, 1, tail).to(exceedances).unsqueeze(-1), exceedances)
    return torch.where(flat, torch.zeros_like(safe[0]), generalised_pareto_shape(safe))


def pareto_k_threshold(num_samples: int) -> float:
    """The k up to which an estimate from this many draws is reliable: min(1 - 1 / log10 K, 0.7).

    Source: Vehtari et al. 2024, "Pareto smoothed importance sampling".
    """
    return min(1 - 1 / math.log10(max(num_samples, 2)), 0.7)


def generalised_pareto_shape(exceedances: Float[Tensor, "T N"]) -> Float[Tensor, "N"]:
    """The posterior-mean estimate of the shape k of a generalised Pareto distribution that starts at zero.

    k above 0 means a tail that falls as a power, 0 an exponential one, below 0 a bounded one. A weak prior draws short
    tails towards 0.5.

    Args:
        exceedances: T draws in ascending order, not negative, for each of N distributions.

    Source: Zhang and Stephens 2009, "A new and efficient estimation method for the generalized Pareto distribution";
    the prior on k as in Vehtari et al. 2024, appendix C. In the former, k has the opposite sign.
    """
    x = exceedances.double()
    size = x.shape[0]
    grid_size = 30 + math.isqrt(size)
    index = torch.arange(1, grid_size + 1, dtype=x.dtype, device=x.device).unsqueeze(-1)
    top = x[-1]
    quartile = torch.maximum(x[math.floor(size / 4 + 0.5) - 1], top * 1e-12)  # ties with the cutoff are zero
    theta = 1 / top + (1 - (grid_size / (index - 0.5)).sqrt()) / (3 * quartile)  # [G, N]
    shape = torch.log1p(-theta.unsqueeze(0) * x.unsqueeze(1)).mean(0)  # [G, N]
    profile = size * ((-theta / shape).log() - shape - 1)
    weights = profile.softmax(0)
    estimate = (weights * theta).sum(0)
    k = torch.log1p(-estimate * x).mean(0)
    return (size * k + _PRIOR_WEIGHT * _PRIOR_SHAPE) / (size + _PRIOR_WEIGHT)
