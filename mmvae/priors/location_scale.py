"""Priors with independent columns around zero."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.distributions.mixture_of_experts import Family
from mmvae.layout import Layout
from mmvae.networks.heads import budgeted_scale
from mmvae.priors.base import Prior, WithPrivate


class _LocationScale(Prior):
    """Independent columns around zero: of scale one, or with scales that are learned under a budget of D."""

    family: Family
    loc: Tensor
    _one: Tensor

    def __init__(self, learned_scale: bool = False) -> None:
        super().__init__()
        self.learned_scale = learned_scale

    def build(self) -> None:
        """Zeros for the location and, if it is learned, a raw scale for each column."""
        self.register_buffer("loc", torch.zeros(self.latent_dim), persistent=False)
        self.register_buffer("_one", torch.ones(self.latent_dim), persistent=False)
        self.raw_scale = nn.Parameter(torch.zeros(self.latent_dim)) if self.learned_scale else None

    @property
    def scale(self) -> Tensor:
        """``[D]``."""
        return self._one if self.raw_scale is None else budgeted_scale(self.raw_scale)

    def forward(self, context: Tensor | None = None) -> Distribution:
        """p(z), of batch shape ``[]`` and event shape ``[D]``."""
        return self.family(self.loc, self.scale).to_event(1)


class Normal(_LocationScale):
    """Independent normal columns around zero.

    Args:
        learned_scale: Learn the scales: they start at one, and their mean stays one.

    Source: Shi et al. 2019, whose prior learns its scales under this budget.
    """

    family = dist.Normal


class StandardNormal(_LocationScale):
    """The standard normal, the prior of most models."""

    family = dist.Normal

    def __init__(self) -> None:
        super().__init__()


class Laplace(_LocationScale):
    """Independent Laplace columns around zero.

    Args:
        learned_scale: Learn the scales: they start at one, and their mean stays one.

    Source: Shi et al. 2019.
    """

    family = dist.Laplace


def prior_of_layout(prior: Prior | None, layout: Layout, family: Family, context_dim: int) -> Prior | WithPrivate:
    """The prior of a model over all columns of its latent.

    Args:
        prior: Prior over the shared columns, not made for a latent yet; by default the standard one of the family.
        layout: Columns of the latent.
        family: Family of the unimodal posteriors.
        context_dim: C, number of encoded covariates.

    Raises:
        TypeError: For something that is not a prior.
    """
    standard = Laplace() if family is dist.Laplace else StandardNormal()
    if prior is None:
        prior = standard
    if not isinstance(prior, Prior):
        raise TypeError(f"prior: expected one of mmvae.priors, such as priors.GaussianMixture(8), got {prior!r}.")
    if layout.is_shared or (type(prior) is type(standard) and not prior.learned_scale):
        return prior.for_latent(layout.size, context_dim)
    return WithPrivate(
        prior.for_latent(layout.shared, context_dim), standard.for_latent(layout.size - layout.shared, context_dim)
    )
