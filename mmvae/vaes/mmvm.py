"""MMVM: unimodal VAEs that share softly."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.modality import Modality
from mmvae.objectives.schedules import LinearWarmup, Weight
from mmvae.objectives.soft_sharing import SoftSharing
from mmvae.posteriors import Mixture
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE

_ANNEALED = LinearWarmup(end=0.0, epochs=50.0, start=1.0)


class MMVM(MultimodalVAE):
    """A VAE for each modality, whose posteriors are pulled to each other.

    In training decoders read draws of their own modality alone. A subset is inferred by the mixture of its members,
    from which every modality is decoded. Training ties no posterior to the prior once ``alpha`` is zero: fit one with
    :func:`mmvae.fit_prior` before you sample.

    Trains on incomplete data: sums are over the modalities that a row has. A row with one modality is tied to the
    prior.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        alpha: Weight of the standard normal beside the other modalities, between 0 and 1, a number or a schedule; by
            default it falls from 1 to 0 over 50 epochs.
        beta: Weight of all divergences, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Source: Sutter et al. 2024, "Unity by diversity: improved representation learning for multimodal VAEs".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        alpha: Weight = _ANNEALED,
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
            objective=SoftSharing(alpha, beta),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
