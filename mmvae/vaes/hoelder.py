"""HoelderVAE and HELVAE: the pool of square roots of experts, exactly and as a Gaussian."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.modality import Modality
from mmvae.objectives import ELBO, StratifiedELBO
from mmvae.objectives.chunks import ChunkSize
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import HoelderGaussian, HoelderPool
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class HoelderVAE(MultimodalVAE):
    """The exact pool of square roots of experts: a mixture of each of them and of a Gaussian for each pair.

    Pairs weigh as much as their experts overlap; so the posterior lies between a mixture and products.

    Trains on incomplete data: a row's mixture is over the modalities it has, and their pairs.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        num_samples: K, draws from each of the M (M + 1) / 2 components.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Source: Vo, Martínez-García and Valera 2026 (arXiv 2606.13381); a reconstruction from a summary of the paper.
    Departure: private latents follow their owner in every component; the paper draws those of modalities outside of
    a component from auxiliary priors, as :class:`~mmvae.models.MMVAEPlus` does.
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
            joint_posterior=HoelderPool(),
            objective=StratifiedELBO(num_samples, beta, chunk_size),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )


class HELVAE(MultimodalVAE):
    """The Gaussian with the moments of the pool of :class:`HoelderVAE`: sure where experts agree, wide where not.

    A step decodes one draw, and the KL is exact.

    Trains on incomplete data: a row's pool is of the modalities it has.

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

    Source: Vo and Valera 2026 (arXiv 2601.06572), "Hellinger multimodal variational autoencoders".
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
            joint_posterior=HoelderGaussian(),
            objective=ELBO(beta),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
