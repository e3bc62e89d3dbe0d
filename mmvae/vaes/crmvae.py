"""CRMVAE: a product of experts, coordinated with its factors."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.modality import Modality
from mmvae.objectives import CoordinatedELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import Product
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class CRMVAE(MultimodalVAE):
    """Product of experts that is kept close to each expert, while each expert also reconstructs its own modality.

    Trains on incomplete data: sums are over the modalities that a row has.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        beta: Weight of the divergences, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Source: the CRMVAE of Senellart's MultiVae, after the paper of that name (OpenReview Rn8u4MYgeNJ), whose text was
    out of reach; a reconstruction.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        beta: Weight = 1.0,
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
            objective=CoordinatedELBO(beta),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
