"""Distributions of counts, right for counts and parameters of any size.

The usual formulas are differences of numbers as large as x log x, of which float32 leaves nothing: at a count of ten
million the log-probability of a Poisson is off by nine nats. So they are evaluated in float64, in forms whose gradients
are differences of small numbers too, and the result is rounded to the type of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmvae.distributions.full_precision import widest

_MANY = 100.0
"""A dispersion from which on Stirling's series for its gamma function is exact to float64."""


class LogPoisson(dist.Poisson):
    """A Poisson given the logarithm of its rate.

    Args:
        log_rate: of any shape.
    """

    def __init__(self, log_rate: Float[Tensor, "*S"], validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.exp(), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> LogPoisson:
        """The same counts over a larger batch."""
        new = super().expand(batch_shape, self._get_checked_instance(LogPoisson, _instance))
        new.log_rate = self.log_rate.expand(torch.Size(batch_shape))
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats."""
        if self._validate_args:
            self._validate_sample(value)
        wide = widest(self.log_rate)
        log_rate, x = self.log_rate.to(wide), value.to(wide)
        return (x * log_rate - log_rate.exp() - torch.lgamma(x + 1)).to(_result(self.log_rate, value))


class LogNegativeBinomial(dist.NegativeBinomial):
    """A negative binomial given the logarithms of its mean μ and dispersion r; the variance is μ + μ² / r.

    Args:
        log_mean: of any shape.
        log_dispersion: of the same shape. As it grows, the distribution becomes a Poisson.
    """

    def __init__(
        self, log_mean: Float[Tensor, "*S"], log_dispersion: Float[Tensor, "*S"], validate_args: bool | None = None
    ) -> None:
        self.log_mean, self.log_dispersion = log_mean, log_dispersion
        super().__init__(log_dispersion.exp(), logits=log_mean - log_dispersion, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> LogNegativeBinomial:
        """The same counts over a larger batch."""
        new = super().expand(batch_shape, self._get_checked_instance(LogNegativeBinomial, _instance))
        shape = torch.Size(batch_shape)
        new.log_mean, new.log_dispersion = self.log_mean.expand(shape), self.log_dispersion.expand(shape)
        return new

    @property
    def mean(self) -> Tensor:
        """μ."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """μ + μ² / r."""
        return self.mean + (2 * self.log_mean - self.log_dispersion).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats."""
        if self._validate_args:
            self._validate_sample(value)
        wide = widest(self.log_mean)
        log_mean, log_r, x = self.log_mean.to(wide), self.log_dispersion.to(wide), value.to(wide)
        terms = torch.where(log_r > math.log(_MANY), _like_poisson(x, log_mean, log_r), _by_gamma(x, log_mean, log_r))
        return (terms - torch.lgamma(x + 1)).to(_result(self.log_mean, value))


def _by_gamma(x: Tensor, log_mean: Tensor, log_r: Tensor) -> Tensor:
    """log x! p(x) for a dispersion r that is not large."""
    log_r = log_r.clamp(max=math.log(_MANY))
    r, logit = log_r.exp(), log_mean - log_r
    # logsigmoid is exact where softplus, beyond 20, is only close: a count of a hundred million would show it
    return torch.lgamma(r + x) - torch.lgamma(r) + x * logsigmoid(logit) + r * logsigmoid(-logit)


def _like_poisson(x: Tensor, log_mean: Tensor, log_r: Tensor) -> Tensor:
    """log x! p(x) for a large dispersion r, where gamma functions of r and r + x would cancel.

    By Stirling's series, log Γ(r + x) - log Γ(r) = (r + x - ½) log(1 + x/r) + x log r - x + B(r + x) - B(r), with B the
    rest of the series. What is left of it after the powers of r are gone is
    x log μ - x + (r + x) log(1 + (x - μ) / (r + μ)) - ½ log(1 + x/r) + B(r + x) - B(r).
    """
    r, mean = log_r.clamp(min=math.log(_MANY)).exp(), log_mean.exp()
    near = (r + x) * torch.log1p((x - mean) / (r + mean)) - 0.5 * torch.log1p(x / r)
    return x * (log_mean - 1) + near + _rest_of_stirling(r + x) - _rest_of_stirling(r)


def _rest_of_stirling(z: Tensor) -> Tensor:
    """log Γ(z) - ((z - ½) log z - z + ½ log 2π), for z of 100 and more, to 1e-17."""
    inverse = z.reciprocal()
    square = inverse.square()
    return inverse * (1 / 12 - square * (1 / 360 - square / 1260))


def _result(parameter: Tensor, value: Tensor) -> torch.dtype:
    """The type that parameters and data have together, an integer type of the data having no say."""
    return torch.promote_types(parameter.dtype, value.dtype)
