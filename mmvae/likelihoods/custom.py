"""Likelihoods of the user's own, given as a function."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.casting import narrowed
from mmvae.likelihoods.base import Likelihood


class Custom(Likelihood):
    """Any callable from decoder output to a distribution; made for you when a modality is given a bare callable.

    Args:
        distribution: from ``[..., *parameter_shape]`` to a distribution whose batch and event shape together are
            ``[..., *shape]``; one of Pyro's, which torch's own are not.
        parameter_shape: Shape of the decoder's output; by default the shape of the data.
    """

    hole = None  # no number lies in the support of every distribution

    def __init__(
        self, distribution: Callable[[Tensor], Distribution], parameter_shape: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.distribution = distribution
        self._parameter_shape = parameter_shape

    def forward(self, parameters: Tensor) -> Distribution:
        """What the callable makes of ``parameters``."""
        return self.distribution(parameters)

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape given, or else that of the data."""
        return shape if self._parameter_shape is None else self._parameter_shape

    def conform(self, name: str, data: Tensor) -> Tensor:
        """The data as it is: a real type becomes float32, an integer type stays, the distribution checks the rest."""
        return narrowed(name, data, torch.float32) if data.is_floating_point() else data


def as_likelihood(likelihood: nn.Module | Callable[[Tensor], Distribution]) -> Likelihood:
    """A likelihood as it is; a bare callable wrapped as :class:`Custom`."""
    return likelihood if isinstance(likelihood, Likelihood) else Custom(likelihood)
