"""Joint posteriors whose networks see all modalities; for every other subset, something else stands in."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import UnimodalExperts


class Reading(NamedTuple):
    """What a network makes of data in all modalities.

    Attributes:
        features: of the data, from which the posterior is computed, ``[N, F]``.
        loc: of the posterior, ``[N, D]``.
        scale: its standard deviation, ``[N, D]``.
    """

    features: Float[Tensor, "N F"]
    loc: Float[Tensor, "N D"]
    scale: Float[Tensor, "N D"]


class JointNetwork(JointPosterior):
    """q(z | X) from networks of its own, which need every modality; ``between`` for every other subset.

    Args:
        between: the posterior of rows in which a modality is missing, from the unimodal posteriors of the model.
    """

    def __init__(self, between: JointPosterior) -> None:
        super().__init__()
        self.between = between

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

    def whole(self, batch: Batch) -> Tensor:
        """The rows that have every modality, bool ``[N]``."""
        if set(batch.names) != set(self.names):
            return torch.zeros(batch.size, dtype=torch.bool, device=batch.device)
        return torch.stack([batch.observed[name] for name in batch.names]).all(0)

    def forward(self, batch: Batch, experts: UnimodalExperts) -> Distribution:
        """The networks' posterior where a row has all modalities, that of the unimodal posteriors where not."""
        if set(batch.names) != set(self.names):
            return self.between(batch, experts)
        _, loc, scale = self.read(batch)
        if batch.complete:
            return dist.Normal(loc, scale).to_event(1)
        whole, other = self.whole(batch).unsqueeze(-1), self.between(batch, experts).base_dist
        return dist.Normal(torch.where(whole, loc, other.loc), torch.where(whole, scale, other.scale)).to_event(1)
