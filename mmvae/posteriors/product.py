"""Product of experts (MVAE, MVTCAE)."""

from __future__ import annotations

from typing import Literal, get_args

import pyro.distributions as dist
from jaxtyping import Bool
from torch import Tensor

from mmvae.choices import check_choice
from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import Experts

PriorColumns = Literal["all", "shared"]
"""Columns of which the prior speaks as an expert."""


class Product(Fusion):
    """q(z | x_S) ∝ Π_{m in S} q_m(z | x_m), times p(z) if the prior is an expert.

    Private columns are products too: of their owner's expert, where it is there, and of the prior if it is an expert.

    Args:
        prior_expert: Whether the standard normal is one of the experts.
        prior_columns: Columns of which it then speaks: ``"all"``, or the ``"shared"`` ones, so that each private latent
            follows its owner's expert alone.

    Raises:
        ValueError: For other columns.

    Source: Wu and Goodman 2018 (with the prior); Hwang et al. 2021 (without).
    """

    families = (dist.Normal,)

    def __init__(self, prior_expert: bool, prior_columns: PriorColumns = "all") -> None:
        super().__init__()
        check_choice("prior_columns", prior_columns, get_args(PriorColumns))
        self.prior_expert, self.prior_columns = prior_expert, prior_columns

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> dist.Independent:
        """The products over several subsets at once, of batch shape ``[S, N]`` (``[N]`` for the one over all)."""
        loc, scale = product_of_gaussians(
            experts.loc,
            experts.scale,
            observed=experts.observed,
            members=members,
            speaks=experts.speaks,
            prior_precision=self._prior_precision(experts),
        )
        return dist.Normal(loc, scale).to_event(1)

    def _prior_precision(self, experts: Experts) -> float | Tensor:
        if not self.prior_expert or self.prior_columns == "all" or experts.layout.is_shared:
            return float(self.prior_expert)
        precision = experts.loc.new_zeros(1, 1, experts.layout.size)
        precision[..., experts.layout.columns()] = 1.0
        return precision
