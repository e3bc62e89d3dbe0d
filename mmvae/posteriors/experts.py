"""Unimodal experts: what each modality, by itself, says of the latent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast
from weakref import WeakKeyDictionary

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Independent
from torch.nn.modules.batchnorm import _NormBase

from mmvae.batch import Batch
from mmvae.distributions.mixture_of_experts import Family
from mmvae.layout import Layout
from mmvae.networks.heads import Head, LaplaceHead, NormalHead


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
    def count(self) -> Float[Tensor, "N"] | int:
        """Number of experts that saw data of a row."""
        return len(self.names) if self.observed is None else self.weights.sum(0)

    def sum_over(self, values: Float[Tensor, "M N"]) -> Float[Tensor, "N"]:
        """The sum of a value of each expert over those that saw data of the row."""
        return values.sum(0) if self.observed is None else (values * self.weights).sum(0)

    @property
    def speaks(self) -> Bool[Tensor, "M D"] | None:
        """Columns of which each expert speaks; ``None`` if each speaks of all."""
        return self.layout.speaks(self.names, self.loc.device)

    @property
    def distribution(self) -> Independent:
        """Each expert as a distribution, of batch shape ``[M, N]`` and event shape ``[D]``."""
        return self.family(self.loc, self.scale).to_event(1)

    def presence(self, members: Bool[Tensor, "S M"] | None = None) -> Float[Tensor, "*S M N"]:
        """One where an expert saw its data and is a member of the subset, zero elsewhere."""
        return self.weights if members is None else members.to(self.loc.dtype).unsqueeze(-1) * self.weights

    def of_shared(self) -> Experts:
        """The experts in the shared columns alone."""
        if self.layout.is_shared:
            return self
        columns = self.layout.columns()
        return replace(
            self, loc=self.loc[..., columns], scale=self.scale[..., columns], layout=Layout(self.layout.shared)
        )

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


class FeatureEncoders(nn.Module):
    """One encoder per modality, and with covariates a layer behind it that reads them beside the features.

    Args:
        encoders: ``{name: module [N, *shape] -> [N, features]}``.
        features: ``{name: number of features}``.
        context_dim: C, number of encoded covariates.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], features: Mapping[str, int], context_dim: int = 0) -> None:
        super().__init__()
        self._widths = dict(features)
        self.encoders = nn.ModuleDict(encoders)
        self.conditioning = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(features[name] + context_dim, features[name]), nn.ReLU())
             for name in encoders if context_dim}
        )  # fmt: skip

    @property
    def widths(self) -> dict[str, int]:
        """Number of features that each encoder gives."""
        return dict(self._widths)

    def features(self, batch: Batch) -> dict[str, Float[Tensor, "N F"]]:
        """Outputs of the encoders for the modalities that the batch holds, by name; with covariates, of the layers
        that read them. No other encoder runs.
        """
        found = {name: encode_observed(self.encoders[name], name, batch, self._widths[name]) for name in batch.names}
        if not self.conditioning:
            return found
        assert batch.context is not None  # the model has encoded the covariates
        return {name: self.conditioning[name](torch.cat([each, batch.context], -1)) for name, each in found.items()}


class UnimodalExperts(FeatureEncoders):
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
        super().__init__(encoders, features, context_dim)
        head: Callable[[int, int], Head] = LaplaceHead if family is dist.Laplace else NormalHead
        self.family = family
        self.layout = layout if isinstance(layout, Layout) else Layout(layout)
        self.heads = nn.ModuleDict({name: head(features[name], self.layout.width(name)) for name in encoders})

    def forward(self, batch: Batch) -> Experts:
        """The experts of the modalities that the batch holds; no other encoder runs."""
        return self.from_features(self.features(batch), batch)

    def from_features(self, features: Mapping[str, Float[Tensor, "N F"]], batch: Batch) -> Experts:
        """The experts, given the outputs of the encoders for the batch."""
        loc, scale = self._locations_and_scales({name: features[name] for name in batch.names})
        return Experts(
            names=batch.names,
            loc=loc,
            scale=scale,
            observed=None if batch.complete else torch.stack([batch.observed[name] for name in batch.names]),
            family=self.family,
            layout=self.layout,
            everyone=tuple(self.encoders),
        )

    def _locations_and_scales(self, features: Mapping[str, Float[Tensor, "N F"]]) -> tuple[Tensor, Tensor]:
        """What the heads say, ``[M, N, D]``; at private columns of others the location is 0 and the scale 1."""
        heads = [cast("Head", self.heads[name]) for name in features]
        outputs = [head.outputs(each) for head, each in zip(heads, features.values(), strict=True)]
        if self.layout.is_shared:  # all are of one width, and read in one pass
            return heads[0].read(torch.stack(outputs))
        read = {name: head.read(each) for name, head, each in zip(features, heads, outputs, strict=True)}
        return (
            torch.stack([self.layout.place(loc, name, 0.0) for name, (loc, _) in read.items()]),
            torch.stack([self.layout.place(scale, name, 1.0) for name, (_, scale) in read.items()]),
        )


def encode_observed(network: nn.Module, name: str, batch: Batch, width: int) -> Float[Tensor, "N F"]:
    """Output of a network for the rows that have its modality; zeros for the others, which it never sees.

    They would enter the statistics of batch norm, and zeros may have no answer. Networks that are known to treat each
    row by itself see all rows, so that no step waits for the device to hear which. A single row has no statistics:
    batch norm then takes those that it learned before.

    Args:
        network: From what the batch shows of the modality (:meth:`~mmvae.Batch.inputs`) to features ``[n, F]``.
        name: Name of its modality.
        batch: N rows.
        width: F.
    """
    inputs = batch.inputs(name)
    if batch.complete or is_row_by_row(network):
        return network(*inputs)
    rows = batch.observed[name].nonzero().flatten()
    if len(rows) == batch.size:
        return network(*inputs)
    if not len(rows):
        return torch.zeros(batch.size, width, device=batch.device)
    with _learned_statistics(network) if len(rows) == 1 else contextlib.nullcontext():
        output = network(*(each[rows] for each in inputs))
    return output.new_zeros(batch.size, width).index_copy(0, rows, output)


def is_row_by_row(network: nn.Module) -> bool:
    """Whether a network is made of layers of PyTorch and of this library alone, none of which looks at other rows."""
    if network not in _ROW_BY_ROW:
        _ROW_BY_ROW[network] = all(
            type(part).__module__.split(".")[0] in ("torch", "mmvae") and not isinstance(part, _NormBase)
            for part in network.modules()
        )
    return _ROW_BY_ROW[network]


_ROW_BY_ROW: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Answers of :func:`is_row_by_row`, which every step asks for."""


@contextlib.contextmanager
def _learned_statistics(network: nn.Module) -> Iterator[None]:
    norms = [part for part in network.modules() if isinstance(part, _NormBase) and part.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
