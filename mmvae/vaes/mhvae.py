"""MHVAE: levels of latents, at each of which modalities meet in a product with what the level above says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.autoencoders.base import CovariateLevels, Weights
from mmvae.distributions import Flowed
from mmvae.modality import Modality
from mmvae.objectives import CrossSubsetELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors.ladder import Ladder, LadderProduct, LadderTransform
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class LadderPrior(Prior):
    """p(z_L) Π_l p(z_l | z_{l+1}): the standard normal, and below it normals that networks read off the level above.

    The networks are those of the model's posterior, in which the same normals are experts.
    """

    loc: Tensor
    _ladder: tuple[Ladder]

    def build(self) -> None:
        """Nothing but the shape: networks come from the model."""
        self.register_buffer("loc", torch.zeros(self.latent_dim), persistent=False)

    def attach(self, model: Any) -> None:
        """Keep the networks of a model's posterior at hand, which trains, moves and saves them."""
        self._ladder = (model.joint_posterior.ladder,)

    def forward(self, context: Float[Tensor, "N C"] | None = None) -> Distribution:
        """p(z), of batch shape ``[]`` and event shape ``[L D]``."""
        noise = dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(1)
        return Flowed(noise, LadderTransform(self._ladder[0]))


class MHVAE(MultimodalVAE):
    """A VAE with levels of latents: each but the deepest has a prior that depends on the level above it.

    At every level the posterior is the product of that conditional prior with the experts of the modalities that are
    there, which look at the level above too. All modalities are decoded from the last level. Training adds the bound
    of all modalities and those of each one alone, each of which explains all that a row has.

    Trains on incomplete data: products and sums are over the modalities that a row has.

    Args:
        modalities: What the model sees.
        latent_dim: D, size of each level; the latent has ``levels`` times as many columns, the deepest level first.
        levels: Number of levels; with one, the product of experts with a standard normal.
        hidden: Width of the hidden layer of the networks between levels.
        beta: KL weight of the objective, a number or a schedule.
        prior: Prior over all levels in the place of the conditional ones, such as one that was fitted after training.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the means of the experts of all levels.

    Source: Dorent et al. 2023, "Unified brain MR-ultrasound synthesis using multi-modal hierarchical representations".
    Departures: levels are vectors, where the paper has maps of several resolutions; Gaussians are multiplied, where the
    authors' code averages their scales; no adversarial loss.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        levels: int = 3,
        hidden: int = 128,
        beta: Weight = 1.0,
        prior: Prior | None = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
    ) -> None:
        super().__init__(
            modalities,
            levels * latent_dim,
            joint_posterior=LadderProduct(latent_dim, levels, hidden),
            objective=CrossSubsetELBO(beta),
            prior=LadderPrior() if prior is None else prior,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
        )

    def read(self, z: Float[Tensor, "*P D"], name: str) -> Float[Tensor, "*P W"]:
        """The last level."""
        return z[..., -self.read_width(name) :]

    def read_width(self, name: str) -> int:
        """Size of a level."""
        return self.layout.size // self._ladder.levels

    @property
    def _ladder(self) -> Ladder:
        posterior = self.joint_posterior
        assert isinstance(posterior, LadderProduct)
        return posterior.ladder
