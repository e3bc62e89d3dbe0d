"""CLUB: an upper estimate of mutual information, to be made small."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.choices import numbers_checked
from mmvae.collectives import gathered, mean_over, of_first
from mmvae.distributions import at_least_float32
from mmvae.networks.frozen_output import frozen_output
from mmvae.networks.masked import in_random_order, in_turn
from mmvae.networks.mlp import MLP

_LEAST_VARIANCE = 1e-12
"""Of a dimension, beside its squared mean: below, what varies is rounding."""

Negatives = Literal["shuffled", "all", "paper"]
"""What a row is compared with, and under which variance: see :meth:`CLUB.bound`."""


@numbers_checked
class CLUB(nn.Module):
    """How much a condition x tells about a target y, by a Normal q(y | x) with diagonal covariance.

    Two losses take turns: :meth:`log_likelihood` is maximised in the weights of q, and :meth:`bound`, which gives them
    no gradients, is minimised in x and y. With the true conditional as q the bound is above the mutual information;
    with a fitted one it is an estimate and may be below it, or negative.

    Each dimension of x and of y is standardised over the valid rows and steps of the batch, and gradients know it. So
    the estimate is one of information: scaling or shifting x or y changes neither it nor, in the direction of the
    change, its gradient. Without that, y could shrink until the variance of q, which has a least value, hides it.

    Args:
        condition_dim: width of x.
        target_dim: width of y.
        hidden: width of the three hidden layers of the mean and of the log-variance; a tanh keeps the latter within
            -1 and 1, so an estimate is at most about e for each dimension of y.

    Source: Cheng et al. 2020, "CLUB: a contrastive log-ratio upper bound of mutual information", with the networks of
    Xia et al. 2023. The standardisation is this library's.
    """

    def __init__(self, condition_dim: int, target_dim: int, hidden: int = 128) -> None:
        super().__init__()
        sizes = (condition_dim, hidden, hidden, hidden, target_dim)
        self.mean = MLP(sizes)
        self.log_variance = nn.Sequential(MLP(sizes), nn.Tanh())

    def log_likelihood(
        self,
        x: Float[Tensor, "N *T X"],
        y: Float[Tensor, "N *T Y"],
        valid: Bool[Tensor, "N *T"] | None = None,
    ) -> Float[Tensor, ""]:
        """log q(y | x) of the standardised target in nats, mean over the valid rows and steps.

        The authors' code leaves out the constant -Y/2 log 2π.
        """
        x, y, weights = _steps(x, y, valid)
        everywhere = gathered(x, y, weights)
        x, y = _standardised(x, everywhere[0], everywhere[2]), _standardised(y, *everywhere[1:])
        mean, log_variance = self.mean(x), self.log_variance(x)
        squares = (mean - y).square() * (-log_variance).exp()
        log_q = -0.5 * (squares + log_variance + math.log(2 * math.pi)).sum(-1)  # [N, T]
        return mean_over(log_q, weights)

    def bound(
        self,
        x: Float[Tensor, "N *T X"],
        y: Float[Tensor, "N *T Y"],
        valid: Bool[Tensor, "N *T"] | None = None,
        *,
        negatives: Negatives = "shuffled",
    ) -> Float[Tensor, ""]:
        """The estimate of the mutual information, in nats, mean over steps and then rows; it may be negative.

        It is the mean of log q(y_i | x_i) - log q(y_j | x_i), where rows are compared step by step.

        Args:
            x: the condition.
            y: the target.
            valid: where there is a step; rows are compared at the steps that both have.
            negatives: ``"shuffled"``: j is one row for each i, by a random permutation of the rows (torch's global
                generator), and the log-variance of a row is averaged over its steps. ``"all"``: all rows, i among them;
                the mean of ``"shuffled"`` over the permutations, at the same cost. ``"paper"``: all rows, and each step
                under the log-variance of its own. For sequences of one step the last two are the same.

        Raises:
            ValueError: for other negatives.

        Source: Xia et al. 2023, equation 5 (``"paper"``), and the authors' code (``"shuffled"``).
        """
        if negatives not in get_args(Negatives):
            raise ValueError(f"negatives: expected 'shuffled', 'all' or 'paper', got {negatives!r}.")
        x, y, weights = gathered(*_steps(x, y, valid))
        x, y = _standardised(x, x, weights), _standardised(y, y, weights)
        mean, log_variance = frozen_output(self.mean, x), frozen_output(self.log_variance, x)
        if negatives == "shuffled":
            order = of_first(_shuffled(weights))
            apart = (mean - y[order]).square()
            weights = weights * weights[order]
        else:
            count = weights.sum(0).clamp_min(1).unsqueeze(-1)  # [T, 1]
            middle = (y * weights.unsqueeze(-1)).sum(0) / count  # [T, Y]
            spread = ((y - middle).square() * weights.unsqueeze(-1)).sum(0) / count
            apart = (mean - middle).square() + spread
        steps = weights.sum(1, keepdim=True)  # [N, 1]
        shares = (weights / steps.clamp_min(1)).unsqueeze(-1)  # [N, T, 1]
        if negatives != "paper":
            log_variance = (log_variance * shares).sum(1, keepdim=True)  # [N, 1, Y]
        gaps = (-log_variance).exp() * (apart - (mean - y).square()) * shares
        return 0.5 * gaps.sum() / (steps > 0).sum().clamp_min(1)


def _steps(x: Tensor, y: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Both with one axis of steps, zeros where there is no step, and 1 where there is one, ``[N, T]``."""
    weights = torch.ones_like(y[..., 0]) if valid is None else valid.to(y.dtype)
    if valid is not None:
        x, y = torch.where(valid.unsqueeze(-1), x, 0), torch.where(valid.unsqueeze(-1), y, 0)
    rows = len(y)
    return x.reshape(rows, -1, x.shape[-1]), y.reshape(rows, -1, y.shape[-1]), weights.reshape(rows, -1)


def _standardised(values: Tensor, everywhere: Tensor, weights: Tensor) -> Tensor:
    """Values ``[N, T, D]`` of mean 0 and variance 1 in each dimension over the valid steps of all rows; zeros where a
    dimension does not vary."""
    values, everywhere = at_least_float32(values), at_least_float32(everywhere)
    shares = (weights / weights.sum().clamp_min(1)).unsqueeze(-1)
    middle = (everywhere * shares).sum((0, 1))
    variance = ((everywhere - middle).square() * shares).sum((0, 1))
    varies = variance > _LEAST_VARIANCE * (1 + middle.square())
    return torch.where(varies, (values - middle) * torch.where(varies, variance, 1.0).rsqrt(), 0.0)


def _shuffled(weights: Tensor) -> Tensor:
    """A random permutation of the rows that have a step, among themselves; the others stay where they are."""
    there = weights.any(1)
    places = in_turn(there)
    return torch.empty_like(places).scatter(0, places, in_random_order(there))
