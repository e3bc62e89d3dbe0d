"""Weighted mVAE: a geometric mean of experts with learned weights."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.autoencoders.parts import checked_names
from mmvae.layout import Layout
from mmvae.modality import Modality
from mmvae.objectives import ELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import GeometricPool
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class WeightedMVAE(MultimodalVAE):
    """Generalised product of experts: a geometric mean that learns how much each modality counts in each column.

    ``vae.joint_posterior.weights`` says how much, ``[M, D]``.

    Trains on incomplete data: weights are normalised over the modalities that a row has.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Source: Lawry Aguila et al. 2023, "Multi-modal variational autoencoders for normative modelling across multiple
    imaging modalities", after Cao and Fleet 2014. Departures: weights have the sum of one that Cao and Fleet ask for,
    where the code has none; likelihoods are summed, where the code takes their mean.
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
        layout = Layout.of(checked_names(modalities), latent_dim, private_dim)
        super().__init__(
            modalities,
            layout,
            joint_posterior=GeometricPool(len(modalities), layout.shared),
            objective=ELBO(beta),
            prior=prior,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
