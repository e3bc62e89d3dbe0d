"""The continuous Bernoulli, right for logits of any size."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

_NEAR = 0.3
"""Half logits below which the series is used; its first term left out is below 1e-9 there."""


class LogitContinuousBernoulli(dist.ContinuousBernoulli):
    """A continuous Bernoulli given its logits l: log p(x) = x l - log(1 + exp l) + log C(l), for x from 0 to 1.

    The normaliser is C(l) = l / tanh(l / 2). PyTorch computes it from the probability, which float32 rounds to 1 from
    logits of 16 on: at 30 its density integrates to 0.53. The formulas here are in the logits, and have their limit at
    zero by series.

    Source: Loaiza-Ganem and Cunningham 2019, "The continuous Bernoulli".
    """

    @property
    def mean(self) -> Tensor:
        """1 / (1 - exp(-l)) - 1 / l, which is ½ + ½ (1 / tanh h - 1 / h) for h = l / 2."""
        return 0.5 + 0.5 * self._slope()

    @property
    def variance(self) -> Tensor:
        """The derivative of the mean by l: ¼ (1 / h² - 1 / sinh² h)."""
        h, near = self._half()
        away = torch.where(near, 1.0, h)
        far = away.square().reciprocal() - _sinh_squared(away).reciprocal()
        square = torch.where(near, h, 0.0).square()
        series = 1 / 3 - square * (1 / 15 - square * (2 / 189 - square / 675))
        return 0.25 * torch.where(near, series, far)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats."""
        if self._validate_args:
            self._validate_sample(value)
        # x l - log(1 + exp l), from the end that is likely: there x and log p are small together
        high = (value - 1) * self.logits - softplus(-self.logits)
        low = value * self.logits - softplus(self.logits)
        return torch.where(self.logits > 0, high, low) + self._log_normaliser()

    def cdf(self, value: Tensor) -> Tensor:
        """(exp(l x) - 1) / (exp l - 1)."""
        if self._validate_args:
            self._validate_sample(value)
        size = self._size()
        short = torch.where(self.logits > 0, 1 - value, value)
        rising = torch.expm1(-size * short) / torch.expm1(-size)
        return torch.where(self.logits > 0, 1 - rising, rising)

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of :meth:`cdf`."""
        size = self._size()
        short = torch.where(self.logits > 0, 1 - value, value)
        at = torch.log1p(short * torch.expm1(-size)) / -size
        return torch.where(self.logits > 0, 1 - at, at).clamp(0, 1)

    def entropy(self) -> Tensor:
        """In nats."""
        return softplus(self.logits) - self.mean * self.logits - self._log_normaliser()

    def _half(self) -> tuple[Tensor, Tensor]:
        """h = l / 2, and where it is so small that differences cancel."""
        h = 0.5 * self.logits
        return h, h.abs() < _NEAR

    def _size(self) -> Tensor:
        """|l|, kept from zero, where quotients have no value though they have a limit."""
        return self.logits.abs().clamp(min=1e-6)

    def _log_normaliser(self) -> Tensor:
        """log C(l) = log 2 + log(h / tanh h)."""
        h, near = self._half()
        away = torch.where(near, 1.0, h).abs()
        far = away.log() + torch.log1p(torch.exp(-2 * away)) - torch.log(-torch.expm1(-2 * away))
        square = torch.where(near, h, 0.0).square()
        series = square * (1 / 3 - square * (7 / 90 - square * (62 / 2835 - square * (127 / 18900))))
        return torch.where(near, series, far) + 0.6931471805599453

    def _slope(self) -> Tensor:
        """1 / tanh h - 1 / h, between -1 and 1."""
        h, near = self._half()
        away = torch.where(near, 1.0, h)
        far = away.tanh().reciprocal() - away.reciprocal()
        inside = torch.where(near, h, 0.0)
        square = inside.square()
        series = inside * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square / 4725)))
        return torch.where(near, series, far)


def _sinh_squared(x: Tensor) -> Tensor:
    """sinh² x, infinite where it is beyond the range of float32."""
    return x.abs().clamp(max=40).sinh().square()
