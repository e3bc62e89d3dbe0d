"""A network that sees all modalities at once (JMVAE)."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.nn.heads import NormalHead
from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import UnimodalExperts
from mmvae.posteriors.product import Product


class JointEncoder(JointPosterior):
    """q(z | X) from one network over all modalities; products of the unimodal posteriors for every other subset.

    Each modality passes a trunk of its own (an encoder, then a layer to ``trunk_width``), the trunks are
    concatenated and pass a hidden layer. Rows in which a modality is missing get the product of the unimodal
    posteriors, without a prior expert: each of them is a posterior already.

    Args:
        encoders: ``{name: module [N, *shape] -> [N, features]}`` for every modality of the model; not shared with the
            unimodal posteriors.
        features: ``{name: how many features the encoder gives}``.
        latent_dim: D.
        trunk_width: of each modality before they are concatenated.
        hidden: width of the layer after it.

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
    ) -> None:
        super().__init__()
        self.trunks = nn.ModuleDict(
            {
                name: nn.Sequential(encoder, nn.Linear(features[name], trunk_width), nn.ReLU())
                for name, encoder in encoders.items()
            }
        )
        self.hidden = nn.Sequential(nn.Linear(trunk_width * len(self.trunks), hidden), nn.ReLU())
        self.head = NormalHead(hidden, latent_dim)
        self.between = Product(prior_expert=False)

    def forward(self, batch: Batch, experts: UnimodalExperts) -> Distribution:
        """The joint network where a row has all modalities, the product of the unimodal posteriors where not."""
        if set(batch.names) != set(self.trunks):
            return self.between(batch, experts)
        if batch.complete:
            return dist.Normal(*self.encode(batch)).to_event(1)
        everything = torch.stack([batch.observed[name] for name in batch.names]).all(0).unsqueeze(-1)
        product = self.between(batch, experts).base_dist
        loc, scale = self.encode(batch)
        return dist.Normal(
            torch.where(everything, loc, product.loc), torch.where(everything, scale, product.scale)
        ).to_event(1)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Location and scale ``[N, D]`` of the joint network, for a batch that holds every modality."""
        features = [trunk(batch.data[name]) for name, trunk in self.trunks.items()]
        return self.head(self.hidden(torch.cat(features, -1)))
