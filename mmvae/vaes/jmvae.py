"""JMVAE: a joint encoder, and unimodal encoders aligned to it."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.autoencoders.parts import checked_names, make_encoders, make_likelihoods
from mmvae.covariates import Covariates
from mmvae.layout import Layout
from mmvae.modality import Modality
from mmvae.objectives import AlignedELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import JointEncoder
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class JMVAE(MultimodalVAE):
    """One encoder for all modalities, and one for each that is pulled towards it by KL(q(z|X) || q_m(z|x_m)).

    A subset between one modality and all is inferred by the product of its unimodal posteriors. Does not train on
    incomplete data, which the joint encoder cannot read; infers from it all the same.

    Args:
        modalities: what the model sees.
        latent_dim: Size of the shared latent.
        alpha: weight of the alignment.
        beta: KL weight of the objective, a number or a schedule.
        warmup_epochs: over which the weights of KL and alignment rise from zero; 0 for none.
        trunk_width: of each modality's branch in the joint encoder.
        hidden: width of the joint encoder's layer over all branches.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Source: Suzuki et al. 2016, "Joint multimodal learning with deep generative models" (JMVAE-kl).
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        alpha: Weight = 0.1,
        beta: Weight = 1.0,
        warmup_epochs: float = 0,
        trunk_width: int = 256,
        hidden: int = 512,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
    ) -> None:
        layout = Layout.of(checked_names(modalities), latent_dim, private_dim)
        encoders, features = make_encoders(modalities, make_likelihoods(modalities))
        joint = JointEncoder(
            encoders, features, layout.size, trunk_width, hidden, context_dim=Covariates(covariates).size
        )
        super().__init__(
            modalities,
            layout,
            joint_posterior=joint,
            objective=AlignedELBO(alpha, beta, warmup_epochs),
            prior=prior,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
