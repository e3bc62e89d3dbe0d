"""The interface of a refiner, and what it asks of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.latents import Latents
from mmvae.layout import Layout
from mmvae.objectives.base import Generative


@runtime_checkable
class Refinable(Generative, Protocol):
    """A probabilistic model: it has a generative program over ``"z"``, and a posterior to start from."""

    layout: Layout

    def posterior(self, batch: Batch) -> Distribution:
        """q(z | x) given all that the batch holds."""

    def prepare(self, data: Any, observed: Any = None) -> Batch:
        """Data as a batch that conforms to the model."""


class Refiner(ABC):
    """Improves the posterior of each datum, given the modalities that a batch holds and no others."""

    @abstractmethod
    def __call__(self, model: Refinable, batch: Batch, start: Distribution | None = None) -> Latents:
        """The refined posteriors.

        Args:
            model: whose generative program is asked.
            batch: N data points that conform to the model, restricted to the subset that inference may look at.
            start: where to start, of batch shape ``[N]``; by default the posterior of the model. A mixture is
                represented by the Gaussian of its mean and variance.

        Returns:
            The latents; ``.elbo_trace``, ``[steps + 1, N]``, has the bound before the first step and after each.
        """
