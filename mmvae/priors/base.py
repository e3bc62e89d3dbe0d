"""The interface of a prior."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.batch import Batch
from mmvae.distributions import Blocks


class Prior(Remembers, nn.Module, ABC):
    """p(z), or p(z | c) given covariates: a module that returns a distribution when it is called.

    A user writes a prior without the size of the latent, such as ``priors.GaussianMixture(8)``. The model makes its
    own copy for its latent (:meth:`for_latent`). In a latent with private columns a prior covers the shared ones, and
    the private ones are standard.

    Attributes:
        latent_dim: D, the number of columns it covers; 0 before it is made for a model.
        context_dim: C, the number of encoded covariates of the model; 0 without covariates.
        is_weighed: Whether the objective of the model takes the exponential of log-densities, for which an estimate of
            them would not do.
    """

    latent_dim: int = 0
    context_dim: int = 0
    is_weighed: bool = False

    def for_latent(self, latent_dim: int, context_dim: int = 0) -> Prior:
        """Return a copy with parameters for a latent of ``latent_dim`` columns and ``context_dim`` encoded covariates.

        Raises:
            ValueError: If the prior needs covariates and there are none.
        """
        prior = copy.deepcopy(self)
        prior.latent_dim, prior.context_dim = latent_dim, context_dim
        prior.build()
        return prior

    @abstractmethod
    def build(self) -> None:
        """Make the parameters for :attr:`latent_dim` columns and :attr:`context_dim` encoded covariates."""

    @abstractmethod
    def forward(self, context: Float[Tensor, "N C"] | None = None) -> Distribution:
        """The prior, of batch shape ``[]``, or ``[N]`` where it depends on covariates, and event shape ``[D]``.

        Args:
            context: Encoded covariates of each row; ``None`` for a model without covariates.
        """

    def attach(self, model: Any) -> None:
        """Learn of the model that it serves, once that has encoders; by default there is nothing to learn.

        Args:
            model: From inputs to posteriors, see :class:`mmvae.priors.vamp.Encodes`.
        """

    def start_from(self, z: Float[Tensor, "n D"], generator: torch.Generator) -> None:
        """Set the parameters to a good start for fitting them to draws ``z``; by default they stay as they are."""

    @property
    def num_start_rows(self) -> int:
        """Number of rows of the data that :meth:`start_from_rows` asks for; by default 0."""
        return 0

    def start_from_rows(self, batch: Batch) -> None:
        """Set the parameters to a good start for fitting them, given rows of the data that conform."""


class WithPrivate(nn.Module):
    """A prior over the shared columns of a latent, and a standard one over the private columns.

    Args:
        shared: Prior that was made for the shared columns.
        private: Standard prior that was made for the private ones.
    """

    def __init__(self, shared: Prior, private: Prior) -> None:
        super().__init__()
        self.shared, self.private = shared, private

    def forward(self, context: Float[Tensor, "N C"] | None = None) -> Distribution:
        """The prior over all columns, of event shape ``[D]``."""
        return Blocks([self.shared(context), self.private(context)])
