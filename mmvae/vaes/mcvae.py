"""mcVAE: every modality explains every other."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.modality import Modality
from mmvae.objectives.chunks import ChunkSize
from mmvae.objectives.component_elbo import ComponentELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import Mixture
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class MCVAE(MultimodalVAE):
    """Each modality's posterior, by itself, has to explain all modalities; a subset is inferred by their mixture.

    Trains on incomplete data: sums are over the modalities that a row has.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        num_samples: K, draws from each modality's posterior.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MVAE`.

    Source: Antelmi et al. 2019, "Sparse multi-channel variational autoencoder for the joint analysis of heterogeneous
    data"; the plain form, without the sparse prior. The paper infers no subsets; the mixture is this library's.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        num_samples: int = 1,
        beta: Weight = 1.0,
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
            joint_posterior=Mixture(),
            objective=ComponentELBO(num_samples, beta, chunk_size),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
