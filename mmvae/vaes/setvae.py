"""SetVAE: a permutation-invariant fusion, trained by a bound of random parts of each row."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.autoencoders.parts import checked_names
from mmvae.layout import Layout
from mmvae.modality import Modality
from mmvae.objectives import MaskedBound
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import SetPooling
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class SetVAE(MultimodalVAE):
    """One network infers from every subset, by a sum over the modalities that are there.

    Trains on incomplete data: random parts are taken of what a row has.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        hidden: Width of the hidden layers of the fusion.
        pooled: Width of the sum over modalities.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Raises:
        ValueError: For sizes out of range.

    Source: Hirt et al. 2024, "Learning multi-modal generative models with permutation-invariant encoders and tighter
    variational objectives".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        hidden: int = 128,
        pooled: int = 128,
        beta: Weight = 1.0,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
    ) -> None:
        layout = Layout.of(checked_names(modalities), latent_dim, private_dim)
        super().__init__(
            modalities,
            layout,
            joint_posterior=SetPooling(layout.shared, hidden, pooled),
            objective=MaskedBound(beta),
            prior=prior,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
