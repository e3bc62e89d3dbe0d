"""Unimodal experts: what each modality, by itself, says of the latent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.distributions.mixture_of_experts import Family
from mmvae.networks.heads import LaplaceHead, NormalHead


@dataclass(frozen=True, eq=False)
class Experts:
    """The unimodal posteriors of a batch, stacked.

    Attributes:
        names: of the M modalities, in the order of the first axis.
        loc: locations ``[M, N, D]``.
        scale: standard deviations (Normal) or scales (Laplace), ``[M, N, D]``.
        observed: ``[M, N]``; false where an expert saw no datum and must be ignored. ``None``: all were seen.
        family: ``pyro.distributions.Normal`` or ``Laplace``.
    """

    names: tuple[str, ...]
    loc: Float[Tensor, "M N D"]
    scale: Float[Tensor, "M N D"]
    observed: Bool[Tensor, "M N"] | None
    family: Family

    @property
    def weights(self) -> Float[Tensor, "M N"]:
        """One where an expert saw its datum, zero where not."""
        if self.observed is None:
            return self.loc.new_ones(()).expand(self.loc.shape[:-1])
        return self.observed.to(self.loc.dtype)


class UnimodalExperts(nn.Module):
    """One encoder and one head per modality.

    Args:
        encoders: ``{name: module [N, *shape] -> [N, features]}``.
        features: ``{name: how many features the encoder gives}``.
        latent_dim: D.
        family: of the experts.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        features: Mapping[str, int],
        latent_dim: int,
        family: Family = dist.Normal,
    ) -> None:
        super().__init__()
        head: Callable[[int, int], nn.Module] = LaplaceHead if family is dist.Laplace else NormalHead
        self.family = family
        self.encoders = nn.ModuleDict(encoders)
        self.heads = nn.ModuleDict({name: head(features[name], latent_dim) for name in encoders})

    def forward(self, batch: Batch) -> Experts:
        """The experts of the modalities that the batch holds; no other encoder is touched."""
        return self.from_features(self.features(batch), batch)

    def features(self, batch: Batch) -> dict[str, Float[Tensor, "N F"]]:
        """What the encoders make of the modalities that the batch holds, by name."""
        return {name: self.encoders[name](batch.data[name]) for name in batch.names}

    def from_features(self, features: Mapping[str, Float[Tensor, "N F"]], batch: Batch) -> Experts:
        """The experts, given what the encoders made of the batch."""
        outputs = [self.heads[name](features[name]) for name in batch.names]
        return Experts(
            names=batch.names,
            loc=torch.stack([loc for loc, _ in outputs]),
            scale=torch.stack([scale for _, scale in outputs]),
            observed=None if batch.complete else torch.stack([batch.observed[name] for name in batch.names]),
            family=self.family,
        )
