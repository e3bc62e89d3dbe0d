"""MVTCAE: a product of experts trained on the total correlation."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.modality import Modality
from mmvae.objectives import TotalCorrelation
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import Product
from mmvae.vaes.base import MultimodalVAE, Weights


class MVTCAE(MultimodalVAE):
    """Product of experts without the prior, and an objective that also pulls each expert towards the product.

    Trains on incomplete data: the objective of a row is that of the modalities it has.

    Args:
        modalities: what the model sees.
        latent_dim: D.
        alpha: between 0 (the plain ELBO) and 1 (the total correlation alone).
        beta: weight of the KL terms, a number or a schedule.
        weights: of the modalities in the objective: ``None`` (their own), ``"balanced"``, or by name.

    Source: Hwang et al. 2021, "Multi-view representation learning via total correlation objective".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        alpha: float = 0.9,
        beta: Weight = 1.0,
        weights: Weights = None,
    ) -> None:
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=Product(prior_expert=False),
            objective=TotalCorrelation(alpha, beta),
            weights=weights,
        )
