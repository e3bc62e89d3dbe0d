"""Whether Monte Carlo chains agree, and how many independent draws they are worth."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor


def rank_r_hat(draws: Float[Tensor, "C K D"]) -> Float[Tensor, "D"]:
    """R-hat of the ranks of the draws: near 1 where the chains agree, above 1.01 to 1.1 where they do not.

    Each chain is split in two, and draws are replaced by the normal scores of their ranks. It is the larger of two: of
    the draws, which notices chains in different places, and of their distances from the median, which notices chains
    of different widths. Infinite where no chain moves, or a draw is not finite.

    Args:
        draws: K draws of each of C chains, K at least 4.

    Source: Vehtari et al. 2021, "Rank-normalization, folding, and localization: an improved R-hat".
    """
    draws = draws.double()
    folded = (draws - draws.flatten(0, 1).median(0).values).abs()
    both = torch.stack([split_gelman_rubin(_normal_scores(each)) for each in (draws, folded)])
    # Where no chain leaves its distance from the median, folded draws say nothing: 0 / 0
    return torch.where(_sound(draws), both.nan_to_num(nan=0.0, posinf=torch.inf).amax(0), torch.inf)


def effective_draws(draws: Float[Tensor, "C K D"]) -> Float[Tensor, "D"]:
    """How many independent draws all chains together are worth; 0 where no chain moves, or a draw is not finite.

    Args:
        draws: K draws of each of C chains.

    Source: Gelman et al. 2013, "Bayesian data analysis", section 11.5, as in Pyro.
    """
    return torch.where(_sound(draws), effective_sample_size(draws.double()), 0.0)


def _sound(draws: Float[Tensor, "C K D"]) -> Bool[Tensor, "D"]:
    """Dimensions in which all draws are finite and some chain moves."""
    return draws.isfinite().flatten(0, 1).all(0) & (draws.amax(1) > draws.amin(1)).any(0)


def _normal_scores(draws: Float[Tensor, "C K D"]) -> Float[Tensor, "C K D"]:
    """The quantile of a standard normal at each draw's rank among all; tied draws share the mean of their ranks."""
    flat = draws.flatten(0, 1).mT.contiguous()  # [D, C K]
    ordered = flat.sort(-1).values
    below, upto = (torch.searchsorted(ordered, flat, right=right) for right in (False, True))
    ranks = (below + upto + 1) / 2
    return torch.special.ndtri((ranks - 0.375) / (flat.shape[-1] + 0.25)).mT.reshape(draws.shape)
