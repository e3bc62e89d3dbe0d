"""DMVAE: a product over shared latents, private ones from their own modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmvae.autoencoders.base import CovariateLevels, Weights
from mmvae.modality import Modality
from mmvae.objectives import CrossSubsetELBO
from mmvae.objectives.chunks import ChunkSize
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import Product
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class DMVAE(MultimodalVAE):
    """Product of experts over a shared latent, with a private latent for each modality that follows its own expert.

    Training adds the bound of all modalities and those of each one alone. The shared latent of one modality has to
    explain all modalities, with private latents from each modality itself.

    Trains on incomplete data: sums run over the modalities that a row has.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        private_dim: Size of each modality's private latent: one for all, or by name.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors` over the shared latent; by default the standard normal.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MVAE`.

    Source: Lee and Pavlovic 2021, "Private-shared disentangled multimodal VAE for learning of latent representations".
    Departures: the shared posterior of one modality is its expert times the prior in training too, as in inference; the
    bound of all modalities has its reconstruction terms, which the authors' code sets to zero.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        private_dim: int | Mapping[str, int],
        *,
        beta: Weight = 1.0,
        prior: Prior | None = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
        chunk_size: ChunkSize = None,
    ) -> None:
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=Product(prior_expert=True, prior_columns="shared"),
            objective=CrossSubsetELBO(beta, chunk_size),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
