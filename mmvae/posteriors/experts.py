"""Unimodal experts: what each modality, by itself, says of the latent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Independent

from mmvae.batch import Batch
from mmvae.distributions.mixture_of_experts import Family
from mmvae.layout import Layout
from mmvae.networks.heads import LaplaceHead, NormalHead


@dataclass(frozen=True, eq=False)
class Experts:
    """The unimodal posteriors of a batch, stacked.

    At columns that are private to another modality an expert is silent: its location is 0 and its scale 1 there, and
    no fusion may count them (:attr:`speaks`).

    Attributes:
        names: Modalities of the batch, in the order of the first axis.
        loc: Locations ``[M, N, D]``.
        scale: Standard deviations (Normal) or scales (Laplace), ``[M, N, D]``.
        observed: ``[M, N]``; false where an expert saw no data and must be ignored. ``None``: all were seen.
        family: ``pyro.distributions.Normal`` or ``Laplace``.
        layout: Columns of the latent; by default all are shared.
        everyone: All modalities of the model, of which ``names`` are some; by default there are no others.
    """

    names: tuple[str, ...]
    loc: Float[Tensor, "M N D"]
    scale: Float[Tensor, "M N D"]
    observed: Bool[Tensor, "M N"] | None
    family: Family
    layout: Layout = field(default=None)  # type: ignore[assignment]
    everyone: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.layout is None:
            object.__setattr__(self, "layout", Layout(self.loc.shape[-1]))
        if not self.everyone:
            object.__setattr__(self, "everyone", self.names)

    @property
    def weights(self) -> Float[Tensor, "M N"]:
        """One where an expert saw its data, zero where not."""
        if self.observed is None:
            return self.loc.new_ones(()).expand(self.loc.shape[:-1])
        return self.observed.to(self.loc.dtype)

    @property
    def speaks(self) -> Bool[Tensor, "M D"] | None:
        """Columns of which each expert speaks; ``None`` if each speaks of all."""
        mask = self.layout.speaks(self.names)
        return None if mask is None else mask.to(self.loc.device)

    @property
    def distribution(self) -> Independent:
        """Each expert as a distribution, of batch shape ``[M, N]`` and event shape ``[D]``."""
        return self.family(self.loc, self.scale).to_event(1)

    def presence(self, members: Bool[Tensor, "S M"] | None = None) -> Float[Tensor, "*S M N"]:
        """One where an expert saw its data and is a member of the subset, zero elsewhere."""
        return self.weights if members is None else members.to(self.loc.dtype).unsqueeze(-1) * self.weights

    def with_private_of_others(
        self, members: Bool[Tensor, "S M"] | None = None
    ) -> tuple[Float[Tensor, "M *S N D"], Float[Tensor, "M *S N D"]]:
        """Locations and scales in which each expert repeats what the others say of their own private columns.

        Where the owner of a private column saw no data, or is not a member of the subset, the column is standard.
        """
        loc, scale = self.loc, self.scale
        if members is not None:
            loc, scale = (each.unsqueeze(1).expand(-1, len(members), -1, -1) for each in (loc, scale))
        if self.layout.is_shared:
            return loc, scale
        presence = self.presence(members).movedim(-2, 0).unsqueeze(-1) > 0  # [M, *S, N, 1]
        shared = self.layout.columns()
        columns = [(loc[..., shared], scale[..., shared])]
        for owner in self.layout.private:
            place = self.layout.columns(owner)
            if owner in self.names:
                row = self.names.index(owner)
                own = torch.where(presence[row], loc[row, ..., place], 0.0)
                spread = torch.where(presence[row], scale[row, ..., place], 1.0)
            else:
                own, spread = torch.zeros_like(loc[0, ..., place]), torch.ones_like(loc[0, ..., place])
            columns.append((own.expand(len(loc), *own.shape), spread.expand(len(loc), *spread.shape)))
        return torch.cat([each[0] for each in columns], -1), torch.cat([each[1] for each in columns], -1)


class UnimodalExperts(nn.Module):
    """One encoder and one head per modality.

    With covariates, a layer between encoder and head reads them beside the features.

    Args:
        encoders: ``{name: module [N, *shape] -> [N, features]}``.
        features: ``{name: number of features}``.
        layout: Columns of the latent; a number stands for that many shared ones.
        family: Family of the experts.
        context_dim: C, number of encoded covariates.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        features: Mapping[str, int],
        layout: Layout | int,
        family: Family = dist.Normal,
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        head: Callable[[int, int], nn.Module] = LaplaceHead if family is dist.Laplace else NormalHead
        self.family = family
        self.layout = layout if isinstance(layout, Layout) else Layout(layout)
        self.encoders = nn.ModuleDict(encoders)
        self.conditioning = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(features[name] + context_dim, features[name]), nn.ReLU())
             for name in encoders if context_dim}
        )  # fmt: skip
        self.heads = nn.ModuleDict({name: head(features[name], self.layout.width(name)) for name in encoders})

    def forward(self, batch: Batch) -> Experts:
        """The experts of the modalities that the batch holds; no other encoder runs."""
        return self.from_features(self.features(batch), batch)

    def features(self, batch: Batch) -> dict[str, Float[Tensor, "N F"]]:
        """Outputs of the encoders for the modalities that the batch holds, by name; with covariates, of the layers
        that read them.
        """
        found = {name: self.encoders[name](*batch.inputs(name)) for name in batch.names}
        if not self.conditioning:
            return found
        assert batch.context is not None  # the model has encoded the covariates
        return {name: self.conditioning[name](torch.cat([each, batch.context], -1)) for name, each in found.items()}

    def from_features(self, features: Mapping[str, Float[Tensor, "N F"]], batch: Batch) -> Experts:
        """The experts, given the outputs of the encoders for the batch."""
        outputs = {name: self.heads[name](features[name]) for name in batch.names}
        return Experts(
            names=batch.names,
            loc=torch.stack([self.layout.place(loc, name, 0.0) for name, (loc, _) in outputs.items()]),
            scale=torch.stack([self.layout.place(scale, name, 1.0) for name, (_, scale) in outputs.items()]),
            observed=None if batch.complete else torch.stack([batch.observed[name] for name in batch.names]),
            family=self.family,
            layout=self.layout,
            everyone=tuple(self.encoders),
        )
