"""MVTCAE: a product of experts trained on the total correlation."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.modality import Modality
from mmvae.objectives import TotalCorrelation
from mmvae.objectives.schedules import Weight
from mmvae.objectives.total_correlation import Count
from mmvae.posteriors import Product
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class MVTCAE(MultimodalVAE):
    """Product of experts without the prior, and an objective that also pulls each expert towards the product.

    Trains on incomplete data: the objective of a row is that of the modalities it has.

    Args:
        modalities: what the model sees.
        latent_dim: Size of the shared latent.
        alpha: between 0 (the plain ELBO) and 1 (the total correlation alone).
        beta: Weight of the KL terms, a number or a schedule.
        count: Number of modalities in the weights of a row: ``"observed"``, those that it has, or ``"all"`` of the
            model; see :class:`~mmvae.objectives.TotalCorrelation`.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Source: Hwang et al. 2021, "Multi-view representation learning via total correlation objective".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        alpha: float = 0.9,
        beta: Weight = 1.0,
        count: Count = "observed",
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
    ) -> None:
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=Product(prior_expert=False),
            objective=TotalCorrelation(alpha, beta, count),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
