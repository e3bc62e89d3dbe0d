"""CoDE-VAE: a consensus of dependent experts, trained on all subsets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.autoencoders.parts import checked_names
from mmvae.modality import Modality
from mmvae.objectives.chunks import ChunkSize
from mmvae.objectives.cross_subsets import ConsensusELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import DependentProduct
from mmvae.priors import Prior
from mmvae.subsets import powerset
from mmvae.vaes.base import MultimodalVAE

_MOST_MODALITIES = 10


class CoDEVAE(MultimodalVAE):
    """Consensus of experts whose errors are correlated; every subset explains all modalities, with learned weights.

    Trains on incomplete data: a row's subsets are those whose modalities it has.

    Args:
        modalities: What the model sees, at most 10.
        latent_dim: Size of the shared latent.
        correlation: ρ, of the errors of each pair of experts, from 0 (a product of experts) to below 1.
        beta: KL weight of the objective, a number or a schedule.
        entropy: Weight of the entropy of the subsets' weights, in the loss of each row; a small one lets the weights
            fall on the subset with the best bound.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        chunk_size: Latents decoded at a time, out of the (2^M - 1) · N of a step; see :class:`~mmvae.models.MVAE`.

    Raises:
        ValueError: For more than 10 modalities, or a correlation out of range.

    Source: Mancisidor et al. 2025, "Aggregation of dependent expert distributions in multimodal variational
    autoencoders". The paper chooses ρ from 0 to 0.8.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        correlation: float = 0.4,
        beta: Weight = 1.0,
        entropy: float = 1000.0,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
        chunk_size: ChunkSize = None,
    ) -> None:
        if len(checked_names(modalities)) > _MOST_MODALITIES:
            raise ValueError(
                f"modalities: CoDEVAE trains on all 2^M - 1 subsets of at most {_MOST_MODALITIES} modalities, got "
                f"{len(modalities)}; take MoPoE, which samples subsets, or MVAE."
            )
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=DependentProduct(correlation),
            objective=ConsensusELBO(beta, entropy, chunk_size),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
        self.subset_logits = nn.Parameter(torch.zeros(2 ** len(modalities) - 1))

    @property
    def subset_weights(self) -> dict[tuple[str, ...], float]:
        """How much each subset counts in training, for rows that have every modality."""
        values = self.subset_logits.softmax(0).tolist()
        return dict(zip(powerset(self.names)[::-1], values, strict=True))
