"""The interface of a joint posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.batch import Batch
from mmvae.posteriors.experts import UnimodalExperts


class JointPosterior(Remembers, nn.Module, ABC):
    """How the modalities of a subset come together in one posterior q(z | x_S)."""

    @abstractmethod
    def forward(self, batch: Batch, experts: UnimodalExperts) -> Distribution:
        """The posterior given every modality that the batch holds, where it is observed.

        Args:
            batch: restricted to the subset; every row has a modality observed.
            experts: the model's encoders; call them on the batch where unimodal posteriors are needed.

        Returns:
            A reparameterised distribution of batch shape ``[N]`` and event shape ``[D]``.
        """
