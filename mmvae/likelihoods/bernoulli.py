"""Zeros and ones, and values between them."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution

from mmvae.distributions import LogitContinuousBernoulli
from mmvae.likelihoods.base import Likelihood, require


class Bernoulli(Likelihood):
    """Binary data; the decoder gives logits.

    Args:
        relaxed: score values between 0 and 1 too, by the cross-entropy. That is no normalised density
            (:class:`ContinuousBernoulli` is), so likelihoods in nats then lose their meaning.
    """

    scores_transformed = False

    def __init__(self, relaxed: bool = False) -> None:
        super().__init__()
        self.relaxed = relaxed

    def forward(self, parameters: Tensor) -> Distribution:
        """A Bernoulli of logits ``parameters [..., *shape]``."""
        return dist.Bernoulli(logits=parameters, validate_args=False if self.relaxed else None)

    def conform(self, name: str, data: Tensor) -> Tensor:
        """Booleans, integers and real numbers alike, as long as they are 0 or 1 (or between, if relaxed)."""
        return self._cast(name, data)

    def check_support(self, name: str, data: Tensor) -> None:
        """Values must be 0 or 1; between them, if relaxed."""
        if self.relaxed:
            require(name, data, (data >= 0) & (data <= 1), "Bernoulli(relaxed=True) scores values from 0 to 1")
            return
        between = (data > 0) & (data < 1)
        hint = "; for grey levels use ContinuousBernoulli, or Bernoulli(relaxed=True)" if bool(between.any()) else ""
        require(name, data, (data == 0) | (data == 1), "Bernoulli scores 0 and 1" + hint)


class ContinuousBernoulli(Likelihood):
    """Values in [0, 1], such as grey levels; the decoder gives logits.

    Source: Loaiza-Ganem and Cunningham 2019, "The continuous Bernoulli".
    """

    scores_transformed = False

    def forward(self, parameters: Tensor) -> Distribution:
        """A continuous Bernoulli of logits ``parameters [..., *shape]``."""
        return LogitContinuousBernoulli(logits=parameters)

    def check_support(self, name: str, data: Tensor) -> None:
        """Values must lie in [0, 1]."""
        require(name, data, (data >= 0) & (data <= 1), "ContinuousBernoulli scores values from 0 to 1")
