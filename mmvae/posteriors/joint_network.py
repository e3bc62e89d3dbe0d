"""Joint posteriors whose networks see all modalities; for every other subset a fusion of experts stands in."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions.composite import choose_rows
from mmvae.posteriors.base import Fusion, JointPosterior
from mmvae.posteriors.experts import Experts


class Reading(NamedTuple):
    """What a network makes of data in all modalities.

    Attributes:
        features: Features of the data, from which the posterior is computed, ``[N, F]``.
        loc: Location of the posterior, ``[N, D]``.
        scale: Its standard deviation, ``[N, D]``.
    """

    features: Float[Tensor, "N F"]
    loc: Float[Tensor, "N D"]
    scale: Float[Tensor, "N D"]


class JointNetwork(JointPosterior):
    """q(z | X) from networks of its own, which need every modality; ``between`` for every other subset.

    Args:
        between: Posterior of rows in which a modality is missing, from the unimodal posteriors of the model.
    """

    needs_complete_data = True

    def __init__(self, between: Fusion) -> None:
        super().__init__()
        self.between = between
        self.families = between.families

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The modalities that the networks need."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """F, of :attr:`Reading.features`."""

    @abstractmethod
    def read(self, batch: Batch) -> Reading:
        """Features and posterior of a batch that holds every modality; rows that lack one are garbage."""

    def whole(self, batch: Batch) -> Bool[Tensor, "N"]:
        """The rows that have every modality."""
        if set(batch.names) != set(self.names):
            return torch.zeros(batch.size, dtype=torch.bool, device=batch.device)
        return torch.stack([batch.observed[name] for name in batch.names]).all(0)

    def forward(self, batch: Batch, experts: Callable[[Batch], Experts]) -> Distribution:
        """The networks' posterior where a row has all modalities, that of the unimodal posteriors where not."""
        if set(batch.names) != set(self.names):
            return self.between(batch, experts)
        _, loc, scale = self.read(batch)
        own = dist.Normal(loc, scale).to_event(1)
        return own if batch.complete else choose_rows(self.whole(batch), own, self.between(batch, experts))

    def of_subsets(self, batch: Batch, experts: Experts, members: Bool[Tensor, "S M"]) -> Distribution:
        """The networks' posterior for the subset of all modalities, that of the unimodal posteriors for others."""
        others = self.between.fuse(experts, members)
        if set(batch.names) != set(self.names):
            return others
        _, loc, scale = self.read(batch)
        shape = (len(members), *loc.shape)
        own = dist.Normal(loc.expand(shape), scale.expand(shape)).to_event(1)
        return choose_rows(members.all(1, keepdim=True) & self.whole(batch), own, others)
