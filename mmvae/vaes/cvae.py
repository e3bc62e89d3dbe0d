"""CVAE: a VAE whose prior, encoders and decoders read covariates."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.modality import Modality
from mmvae.objectives import ELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import Product
from mmvae.priors import ConditionalNormal, Prior
from mmvae.vaes.base import MultimodalVAE


class CVAE(MultimodalVAE):
    """p(x | c) by a latent whose prior depends on the covariates c: a network gives p(z | c).

    ``vae.sample(n, covariates={"age": ...})`` draws data for given covariates. Of several modalities the posterior is
    the product of experts. Trains on incomplete data: product and likelihoods are of the modalities that a row has;
    covariates must be known for every row.

    Args:
        modalities: What the model generates, often a single one.
        latent_dim: Size of the shared latent.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row. Without any,
            the prior is the standard normal, and the model a plain VAE.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default a normal that reads the covariates.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Source: Sohn et al. 2015, "Learning structured output representation using deep conditional generative models".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        covariates: CovariateLevels = None,
        *,
        beta: Weight = 1.0,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
    ) -> None:
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=Product(prior_expert=False),
            objective=ELBO(beta),
            prior=ConditionalNormal() if prior is None and covariates else prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
