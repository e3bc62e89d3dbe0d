"""The interfaces of joint posteriors: algebra over experts, or networks of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import pyro.distributions as dist
import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.batch import Batch
from mmvae.distributions.mixture_of_experts import Family, MixtureOfExperts
from mmvae.posteriors.experts import Experts


class JointPosterior(Remembers, nn.Module, ABC):
    """How the modalities of a subset come together in one posterior q(z | x_S).

    Attributes:
        families: Families of experts that it can fuse.
        needs_complete_data: Whether training needs every modality in every row.
        learns_weights: Whether it is a mixture whose weights depend on the data, which draws give no gradient.
    """

    families: tuple[Family, ...] = (dist.Normal, dist.Laplace)
    needs_complete_data: bool = False
    learns_weights: bool = False

    @abstractmethod
    def forward(self, batch: Batch, experts: Callable[[Batch], Experts]) -> Distribution:
        """The posterior given every modality that the batch holds, where it is observed.

        Args:
            batch: N rows, restricted to the subset; every row has a modality observed.
            experts: Gives the unimodal posteriors of the batch. Call it only where they are needed: it runs encoders.

        Returns:
            A reparameterised distribution of batch shape ``[N]`` and event shape ``[D]``.
        """

    def of_subsets(self, batch: Batch, experts: Experts, members: Bool[Tensor, "S M"]) -> Distribution:
        """The posteriors given several subsets at once.

        Args:
            batch: N rows.
            experts: Unimodal posteriors of the batch.
            members: One row per subset, one column per expert.

        Returns:
            A reparameterised distribution of batch shape ``[S, N]`` and event shape ``[D]``. Where a row has none of a
            subset's members, it is the standard normal.

        Raises:
            NotImplementedError: By default; see :attr:`gives_subsets`.
        """
        raise NotImplementedError(f"{type(self).__name__} gives one subset at a time; derive it from Fusion.")

    @property
    def gives_subsets(self) -> bool:
        """Whether :meth:`of_subsets` is there."""
        return type(self).of_subsets is not JointPosterior.of_subsets


class Fusion(JointPosterior):
    """A posterior that is algebra over the unimodal experts, for any subset."""

    def forward(self, batch: Batch, experts: Callable[[Batch], Experts]) -> Distribution:
        """The fusion of all experts of the batch."""
        return self.fuse(experts(batch))

    def of_subsets(self, batch: Batch, experts: Experts, members: Bool[Tensor, "S M"]) -> Distribution:
        """The fusion of the members of each subset."""
        return self.fuse(experts, members)

    @abstractmethod
    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> Distribution:
        """The fusion of experts.

        Args:
            experts: M unimodal posteriors of N rows.
            members: One row per subset, one column per expert; by default one subset of all experts.

        Returns:
            A reparameterised distribution of batch shape ``[N]``, or ``[S, N]`` with ``members``, and event shape
            ``[D]``.
        """


class SharedFusion(Fusion):
    """A fusion of the shared columns into a Gaussian or a mixture; private columns follow their owner's expert alone.

    Where the owner of a private column saw no data, or is not a member of the subset, the column is standard.
    """

    families = (dist.Normal,)

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> Distribution:
        """The fusion of experts, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        shared = self.fuse_shared(experts.of_shared(), members)
        if experts.layout.is_shared:
            return shared
        private = slice(experts.layout.shared, None)
        loc, scale = (each[0, ..., private] for each in experts.with_private_of_others(members))
        if isinstance(shared, MixtureOfExperts):
            count = shared.num_components
            return MixtureOfExperts(
                torch.cat([shared.loc, loc.expand(count, *loc.shape)], -1),
                torch.cat([shared.scale, scale.expand(count, *scale.shape)], -1),
                shared.weights,
                shared.family,
            )
        base = shared.base_dist  # type: ignore[attr-defined]
        return dist.Normal(torch.cat([base.loc, loc], -1), torch.cat([base.scale, scale], -1)).to_event(1)

    @abstractmethod
    def fuse_shared(self, experts: Experts, members: Bool[Tensor, "S M"] | None) -> Distribution:
        """The fusion of experts that speak of all columns: a normal with independent columns, or a mixture of such.

        Args:
            experts: M unimodal posteriors of N rows, in the shared columns.
            members: As of :meth:`fuse`.
        """
