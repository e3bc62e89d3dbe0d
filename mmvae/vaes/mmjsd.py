"""mmJSD: a mixture of experts against a dynamic prior."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.modality import Modality
from mmvae.objectives.jensen_shannon import JensenShannon
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import Mixture
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class MMJSD(MultimodalVAE):
    """Mixture of experts, whose components are pulled to each other by the Jensen-Shannon divergence.

    Trains on incomplete data: mixture and divergence of a row are over the modalities it has.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        beta: Weight of the divergence, a number or a schedule.
        prior: Prior of samples, bounds and likelihoods; by default the standard normal, which training takes always.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Source: Sutter, Daunhawer and Vogt 2020, "Multimodal generative learning utilizing Jensen-Shannon-divergence".
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
            joint_posterior=Mixture(),
            objective=JensenShannon(beta),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
