"""MMVAE: a mixture of experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import pyro.distributions as dist

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.choices import check_choice
from mmvae.modality import Modality
from mmvae.objectives import Objective, StratifiedDReG, StratifiedELBO, StratifiedIWAE
from mmvae.objectives.chunks import ChunkSize
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import Mixture
from mmvae.priors import Laplace, Normal, Prior
from mmvae.vaes.base import MultimodalVAE

_OBJECTIVES: dict[str, Callable[[int, Weight, ChunkSize], Objective]] = {
    "dreg": StratifiedDReG,
    "iwae": StratifiedIWAE,
    "elbo": StratifiedELBO,
}
_FAMILIES = {"laplace": dist.Laplace, "normal": dist.Normal}
_PRIORS = {"laplace": Laplace, "normal": Normal}


class MMVAE(MultimodalVAE):
    """Mixture of unimodal posteriors, with K draws from each.

    Trains on incomplete data: a row's mixture is over the modalities it has.

    Args:
        modalities: what the model sees.
        latent_dim: Size of the shared latent.
        num_samples: K, draws from each component.
        objective: ``"dreg"`` (importance-weighted bound with the doubly reparameterised gradient), ``"iwae"`` (the
            same bound, plain gradient) or ``"elbo"`` (the ELBO of the mixture).
        family: of posteriors and prior, ``"laplace"`` as in the paper, or ``"normal"``.
        learned_prior_scale: Learn the scale of the default prior in each latent dimension.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default one of the family, whose scale is learned or not.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        chunk_size: how many of a step's K · M · N latents are decoded at a time (never fewer than one draw from each
            component): a number, ``"auto"`` for what free memory allows, or ``None`` for all. The gradients are the
            same; memory then does not grow with K, but by the draws themselves, and decoders run twice where there are
            several chunks.

    Raises:
        ValueError: for an unknown objective or family, or a number of samples or a chunk below one.

    Source: Shi et al. 2019, "Variational mixture-of-experts autoencoders for multi-modal deep generative models".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        num_samples: int = 10,
        objective: Literal["dreg", "iwae", "elbo"] = "dreg",
        family: Literal["laplace", "normal"] = "laplace",
        learned_prior_scale: bool = True,
        beta: Weight = 1.0,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
        chunk_size: ChunkSize = None,
    ) -> None:
        check_choice("objective", objective, _OBJECTIVES)
        check_choice("family", family, _FAMILIES)
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=Mixture(),
            objective=_OBJECTIVES[objective](num_samples, beta, chunk_size),
            prior=_PRIORS[family](learned_prior_scale) if prior is None else prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
            family=_FAMILIES[family],
        )
