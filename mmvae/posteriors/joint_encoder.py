"""A network that sees all modalities at once (JMVAE)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.networks.heads import NormalHead
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import encode_observed
from mmvae.posteriors.joint_network import JointNetwork, Reading
from mmvae.posteriors.product import Product


class JointEncoder(JointNetwork):
    """q(z | X) from one network over all modalities; products of the unimodal posteriors for every other subset.

    Each modality passes a trunk of its own (an encoder, then a layer to ``trunk_width``), the trunks are
    concatenated and pass a hidden layer. Rows in which a modality is missing get the product of the unimodal
    posteriors, without a prior expert: each of them is a posterior already.

    Args:
        encoders: ``{name: module [N, *shape] -> [N, features]}`` for every modality of the model; not shared with the
            unimodal posteriors.
        features: ``{name: how many features the encoder gives}``.
        latent_dim: D, of the whole latent.
        trunk_width: of each modality before they are concatenated.
        hidden: width of the layer after it.
        between: Fusion in the place of that product.
        context_dim: C, number of encoded covariates, which the layer after the trunks reads too.

    Source: Suzuki et al. 2016, "Joint multimodal learning with deep generative models"; the products for the
    subsets between one modality and all follow MultiVae.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        features: Mapping[str, int],
        latent_dim: int,
        trunk_width: int = 256,
        hidden: int = 512,
        between: Fusion | None = None,
        context_dim: int = 0,
    ) -> None:
        super().__init__(Product(prior_expert=False) if between is None else between)
        self.trunks = nn.ModuleDict(
            {
                name: _Trunk(encoder, nn.Linear(features[name], trunk_width), nn.ReLU())
                for name, encoder in encoders.items()
            }
        )
        self._num_features = trunk_width * len(self.trunks)
        self.hidden = nn.Sequential(nn.Linear(self._num_features + context_dim, hidden), nn.ReLU())
        self._reads_context = context_dim > 0
        self.head = NormalHead(hidden, latent_dim)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities that have a trunk."""
        return tuple(self.trunks)

    @property
    def num_features(self) -> int:
        """The widths of all trunks together."""
        return self._num_features

    def read(self, batch: Batch) -> Reading:
        """The outputs of all trunks, and the posterior of the network above them."""
        width = self._num_features // len(self.trunks)
        features = torch.cat([encode_observed(trunk, name, batch, width) for name, trunk in self.trunks.items()], -1)
        inputs = features
        if self._reads_context:
            assert batch.context is not None  # the model has encoded the covariates
            inputs = torch.cat([features, batch.context], -1)
        return Reading(features, *self.head(self.hidden(inputs)))


class _Trunk(nn.Sequential):
    """Layers of which the first takes all that is shown of a modality."""

    def forward(self, *inputs: Tensor) -> Tensor:
        first, *rest = self
        features = first(*inputs)
        for layer in rest:
            features = layer(features)
        return features
