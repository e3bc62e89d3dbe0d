"""MVAE: a product of experts with the prior among them."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.modality import Modality
from mmvae.objectives import SubsetELBO
from mmvae.objectives.chunks import ChunkSize
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import Product
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class MVAE(MultimodalVAE):
    """Product of experts, trained on the ELBO of the whole, of each modality, and of k random subsets.

    Trains on incomplete data: a missing modality has no expert in the product, and no likelihood.

    Args:
        modalities: what the model sees.
        latent_dim: Size of the shared latent.
        beta: KL weight of the objective, a number or a schedule.
        num_random_subsets: k, drawn anew for each batch.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        chunk_size: how many of a step's (1 + M + k) · N latents are decoded at a time (never fewer than those of one
            row): a number, ``"auto"`` for what free memory allows, or ``None`` for all. The gradients are the same;
            memory then does not grow with the subsets and the rows, but by the draws themselves and what encoders
            keep, and decoders run twice where there are several chunks.

    Raises:
        ValueError: for a number of subsets below zero, or a chunk below one.

    Source: Wu and Goodman 2018, "Multimodal generative models for scalable weakly-supervised learning".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        beta: Weight = 1.0,
        num_random_subsets: int = 0,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
        chunk_size: ChunkSize = None,
    ) -> None:
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=Product(prior_expert=True),
            objective=SubsetELBO(beta, num_random_subsets, chunk_size),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
