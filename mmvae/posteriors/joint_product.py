"""A product of experts that is not the posterior of single modalities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from mmvae.batch import Batch
from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import UnimodalExperts
from mmvae.posteriors.joint_network import JointNetwork, Reading
from mmvae.posteriors.product import Product


class JointProduct(JointNetwork):
    """q(z | X) as the product of experts of its own; ``between`` for every other subset.

    The experts serve the product alone: what one modality says by itself is asked of the model's unimodal posteriors.

    Args:
        encoders: ``{name: module [N, *shape] -> [N, features]}`` for every modality of the model.
        features: ``{name: how many features the encoder gives}``.
        latent_dim: D.
        prior_expert: whether the standard normal prior is one of the experts.
        between: the posterior of rows in which a modality is missing.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        features: Mapping[str, int],
        latent_dim: int,
        prior_expert: bool,
        between: JointPosterior,
    ) -> None:
        super().__init__(between)
        self.own = UnimodalExperts(encoders, features, latent_dim)
        self.product = Product(prior_expert)
        self._num_features = sum(features[name] for name in encoders)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities that have an expert."""
        return tuple(self.own.encoders)

    @property
    def num_features(self) -> int:
        """The features of all encoders together."""
        return self._num_features

    def read(self, batch: Batch) -> Reading:
        """The features of all encoders, and the product of the experts above them."""
        features = self.own.features(batch)
        product = self.product.fuse(self.own.from_features(features, batch)).base_dist
        return Reading(torch.cat(list(features.values()), -1), product.loc, product.scale)
