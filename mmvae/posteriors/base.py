"""The interfaces of joint posteriors: algebra over experts, or networks of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import pyro.distributions as dist
from jaxtyping import Bool
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.batch import Batch
from mmvae.distributions.mixture_of_experts import Family
from mmvae.posteriors.experts import Experts


class JointPosterior(Remembers, nn.Module, ABC):
    """How the modalities of a subset come together in one posterior q(z | x_S).

    Attributes:
        families: Families of experts that it can fuse.
        needs_complete_data: Whether training needs every modality in every row.
    """

    families: tuple[Family, ...] = (dist.Normal, dist.Laplace)
    needs_complete_data: bool = False

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
