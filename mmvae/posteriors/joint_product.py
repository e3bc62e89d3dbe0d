"""A product of experts that is not the posterior of single modalities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from mmvae.batch import Batch
from mmvae.layout import Layout
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import UnimodalExperts
from mmvae.posteriors.joint_network import JointNetwork, Reading
from mmvae.posteriors.product import Product


class JointProduct(JointNetwork):
    """q(z | X) as the product of experts of its own; ``between`` for every other subset.

    The experts serve the product alone: what one modality says by itself is asked of the model's unimodal posteriors.

    Args:
        encoders: ``{name: module [N, *shape] -> [N, features]}`` for every modality of the model.
        features: ``{name: how many features the encoder gives}``.
        layout: Columns of the latent; a number stands for that many shared ones.
        prior_expert: whether the standard normal prior is one of the experts.
        between: Posterior of rows in which a modality is missing.
        context_dim: C, number of encoded covariates.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        features: Mapping[str, int],
        layout: Layout | int,
        prior_expert: bool,
        between: Fusion,
        context_dim: int = 0,
    ) -> None:
        super().__init__(between)
        self.own = UnimodalExperts(encoders, features, layout, context_dim=context_dim)
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
