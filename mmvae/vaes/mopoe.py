"""MoPoE: a mixture of the products of all subsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.autoencoders.parts import checked_names
from mmvae.modality import Modality
from mmvae.objectives import MixtureELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import MixtureOfProducts
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class MoPoE(MultimodalVAE):
    """Mixture of the products of experts over all non-empty subsets of the modalities.

    Trains on incomplete data: a row's mixture is over the subsets of the modalities it has.

    Args:
        modalities: what the model sees.
        latent_dim: Size of the shared latent.
        beta: KL weight of the objective, a number or a schedule.
        prior_expert: in which products the prior is an expert: ``"full"`` (only in that of all modalities, as in the
            authors' code), ``"all"`` or ``"none"``.
        max_components: cap on the subsets of the mixture; beyond it (from eight modalities on, by default) they are
            the single modalities, the whole, and a sample of the others that is drawn once.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Source: Sutter et al. 2021, "Generalized multimodal ELBO".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        beta: Weight = 1.0,
        prior_expert: Literal["full", "all", "none"] = "full",
        max_components: int = 128,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
    ) -> None:
        checked_names(modalities)
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=MixtureOfProducts(len(modalities), prior_expert, max_components),
            objective=MixtureELBO(beta),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
