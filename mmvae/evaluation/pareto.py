"""Diagnostics of importance weights: effective sample size, and the Pareto shape of their tail."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_SHORTEST_TAIL = 5
_PRIOR_WEIGHT = 10
_PRIOR_SHAPE = 0.5
_LARGEST_ROUNDING = 0.01
"""Nats. Log weights that differ by more are told apart, however large they are."""


def effective_sample_size(log_weights: Float[Tensor, "K N"]) -> Float[Tensor, "N"]:
    """(Σ w)² / Σ w² of each column, between 1 and K: how many equal weights would be worth as much.

    A column gets 0 if a weight in it is infinite or not a number, or if all its weights are zero: no draw is worth
    anything there.

    Args:
        log_weights: K importance weights for each of N rows, in nats, up to a constant per column.

    Source: Kong 1992.
    """
    log_weights = log_weights.double()
    broken = _broken(log_weights)
    size = (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()
    return torch.where(broken, 0.0, size)


def pareto_k(log_weights: Float[Tensor, "K N"]) -> Float[Tensor, "N"]:
    """The shape k of a generalised Pareto distribution fitted to the largest weights of each column.

    The tail is the largest min(K / 5, 3 √K) weights, without those equal to the cutoff below them. Below
    :func:`pareto_k_threshold` the importance-weighted estimate can be trusted; from 0.7 on it cannot, whatever K is
    within reason; at 1 the weights have no mean. A tail whose weights are all equal, up to rounding, gets 0.

    The fit works on logarithms, so it holds for weights of any spread.

    Args:
        log_weights: K importance weights for each of N rows, in nats, up to a constant per column.

    Returns:
        k by column. Infinite where fewer than five weights exceed the cutoff (a few draws have all the weight), where
        a weight is infinite or not a number, and where all weights are zero. NaN where K is too small (below 21) for a
        tail of five.

    Source: Vehtari et al. 2024, "Pareto smoothed importance sampling".
    """
    draws = log_weights.shape[0]
    tail = math.ceil(min(0.2 * draws, 3 * math.sqrt(draws)))
    if tail < _SHORTEST_TAIL:
        return torch.full(log_weights.shape[1:], math.nan, dtype=torch.float64, device=log_weights.device)
    log_weights = log_weights.double()
    broken = _broken(log_weights)
    largest = torch.where(broken, 0.0, log_weights).topk(tail + 1, dim=0).values.flip(0)  # [T + 1, N], ascending
    cutoff, top = largest[0], largest[-1]
    above = largest[1:] > cutoff
    # log(exp(a) - exp(c)) = a + log(1 - exp(c - a)); what ties with the cutoff exceeds it by nothing
    exceedances = torch.where(above, largest[1:] + _log1mexp(torch.where(above, cutoff - largest[1:], -1.0)), -math.inf)
    flat = top - cutoff <= (1e-6 * (1 + top.abs())).clamp(max=_LARGEST_ROUNDING)  # weights come from float32
    return torch.where(broken, math.inf, torch.where(flat, 0.0, _shape(exceedances)))


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
        exceedances: T draws in ascending order, not negative, for each of N distributions. Zeros are left out.

    Returns:
        k, infinite for a distribution with fewer than five draws above zero.

    Source: Zhang and Stephens 2009, "A new and efficient estimation method for the generalized Pareto distribution";
    the prior on k as in Vehtari et al. 2024, appendix C. In the former, k has the opposite sign.
    """
    return _shape(exceedances.double().log())


def _shape(logs: Float[Tensor, "T N"]) -> Float[Tensor, "N"]:
    """:func:`generalised_pareto_shape` of the logarithms of the draws.

    The profile runs over θ_j = 1/x_T - c_j/(3 x_q), with x_q the lower quartile, and needs log(1 - θ_j x). In units of
    the largest draw, with y = x/x_T and s_j = c_j x_T/(3 x_q) - 1, that is log(1 + s_j y): s and y may be far beyond
    the range of floating point, so both are kept as logarithms where s is positive.
    """
    size = len(logs)
    inside = logs > -math.inf  # [T, N]
    count = inside.sum(0)
    enough = count >= _SHORTEST_TAIL
    logs = torch.where(enough, logs, torch.linspace(-1, 0, size).to(logs).unsqueeze(-1))
    inside, count = inside | ~enough, torch.where(enough, count, size)

    y = (logs - logs[-1]).clamp(max=0)  # [T, N], log(x / x_T)
    quartile = y.gather(0, (size - count + (count / 4 + 0.5).long() - 1).unsqueeze(0)).squeeze(0)
    grid_sizes = 30 + count.double().sqrt().long()
    index = torch.arange(1, 31 + math.isqrt(size), dtype=logs.dtype, device=logs.device).unsqueeze(-1)
    on_grid = index <= grid_sizes  # [G, N]
    c = torch.where(on_grid, (grid_sizes / (index - 0.5)).sqrt() - 1, 1.0)

    k = _mean_log(c, y, quartile, inside, count)  # [G, N]
    log_s = _log_abs_expm1(c.log() - math.log(3) - quartile)
    profile = count * (log_s - k.abs().log() - k - 1)
    weights = torch.where(on_grid, profile, -math.inf).softmax(0)
    k = _mean_log((weights * c).sum(0, keepdim=True), y, quartile, inside, count).squeeze(0)
    return torch.where(enough, (count * k + _PRIOR_WEIGHT * _PRIOR_SHAPE) / (count + _PRIOR_WEIGHT), math.inf)


def _mean_log(
    c: Float[Tensor, "G N"],
    y: Float[Tensor, "T N"],
    quartile: Float[Tensor, "N"],
    inside: Bool[Tensor, "T N"],
    count: Tensor,
) -> Float[Tensor, "G N"]:
    """The mean over the draws of log(1 + s y), with s = c / (3 x_q / x_T) - 1 and ``y``, ``quartile`` logarithms."""
    log_ratio = (c.log() - math.log(3) - quartile).unsqueeze(1)  # [G, 1, N]
    growing = torch.logaddexp(y + _log_abs_expm1(log_ratio), torch.zeros_like(y))
    falling = torch.log1p(y.exp() * torch.expm1(log_ratio.clamp(max=0)))
    terms = torch.where(log_ratio > 0, growing, falling)  # [G, T, N]
    return torch.where(inside, terms, 0.0).sum(1) / count


def _log_abs_expm1(x: Tensor) -> Tensor:
    """log |exp(x) - 1|, for x of any size; at 0, where the limit of a ratio is wanted, a number next to it."""
    x = torch.where(x == 0, 1e-200, x)
    return x.clamp(min=0) + torch.expm1(-x.abs()).neg().log()


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)), for x below 0."""
    return torch.expm1(x).neg().log()


def _broken(log_weights: Float[Tensor, "K N"]) -> Bool[Tensor, "N"]:
    """Columns in which a weight is infinite or not a number, or all weights are zero."""
    return ~(log_weights.amax(0).isfinite())
