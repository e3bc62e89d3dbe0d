"""DVCCA: the shared latent is inferred from one modality and explains all."""

from __future__ import annotations

from collections.abc import Sequence

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.autoencoders.parts import checked_names
from mmvae.choices import check_choice
from mmvae.modality import Modality
from mmvae.objectives import ELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors.one_expert import OneExpert
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE


class DVCCA(MultimodalVAE):
    """One primary modality gives the posterior of the shared latent, from which all modalities are decoded.

    A subset without the primary modality says nothing of the shared latent, which then follows the standard normal.
    With private latents each modality has one of its own beside it (DVCCA-private).

    Trains on incomplete data. A row without the primary modality trains decoders on draws of the standard normal: leave
    such rows out if there are many.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        primary: Name of the primary modality; by default the first.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.

    Raises:
        ValueError: For a primary modality that the model does not have.

    Source: Wang, Yan, Lee and Livescu 2016, "Deep variational canonical correlation analysis".
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        primary: str | None = None,
        beta: Weight = 1.0,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
    ) -> None:
        names = checked_names(modalities)
        primary = names[0] if primary is None else primary
        check_choice("primary", primary, names)
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=OneExpert(primary),
            objective=ELBO(beta),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
        )
        self.primary = primary
        for name in names:  # encoders of whose output nothing depends do not learn
            if name != primary and name not in self.layout.private:
                for parts in (self.experts.encoders, self.experts.heads, self.experts.conditioning):
                    if name in parts:
                        parts[name].requires_grad_(False)
