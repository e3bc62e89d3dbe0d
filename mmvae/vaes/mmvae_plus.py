"""MMVAE+, a mixture of experts with private latents; IDMVAE, with further terms, and CMVAE, with clusters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.autoencoders.base import CovariateLevels, Weights
from mmvae.choices import check_choice
from mmvae.modality import Modality
from mmvae.objectives import Objective
from mmvae.objectives.chunks import ChunkSize
from mmvae.objectives.cross_reconstruction import CrossDReG, CrossELBO, CrossIWAE
from mmvae.objectives.schedules import Weight, weight_at
from mmvae.posteriors import Mixture
from mmvae.priors import GaussianMixture, Laplace, Normal, Prior, WithPrivate
from mmvae.subsets import Subset
from mmvae.vaes.base import MultimodalVAE

_FEWEST_CLUSTERS = 2
_GONE = -1e4
"""Logit of a cluster that was taken away: finite, and of weight zero."""

_OBJECTIVES: dict[str, type[Objective]] = {"dreg": CrossDReG, "iwae": CrossIWAE, "elbo": CrossELBO}
_FAMILIES = {"laplace": dist.Laplace, "normal": dist.Normal}
_AUXILIARY: dict[str, type[Laplace] | type[Normal]] = {"laplace": Laplace, "normal": Normal}


class MMVAEPlus(MultimodalVAE):
    """Mixture of experts with a private latent for each modality, which never explains another modality in training.

    When expert m's shared latent has to explain modality n, the private latent of n is drawn from an auxiliary prior of
    learned scale instead of from x_n. So what modalities share has to be in the shared latent. Inference and generation
    know the auxiliary priors no more: the private latent of a missing modality follows the prior.

    Trains on incomplete data: a row's mixture is over the modalities it has.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        private_dim: Size of each modality's private latent: one for all, or by name.
        num_samples: K, draws from each component.
        objective: ``"dreg"``, ``"iwae"`` or ``"elbo"``, as of :class:`~mmvae.models.MMVAE`.
        family: Family of posteriors and priors, ``"laplace"`` as in the paper, or ``"normal"``.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors` over the shared latent; by default the standard one of the family.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Attributes:
        auxiliary: Auxiliary priors of the private latents, by modality.

    Raises:
        ValueError: For an unknown objective or family, or sizes out of range.

    Source: Palumbo, Daunhawer and Vogt 2023, "MMVAE+: Enhancing the generative quality of multimodal VAEs without
    compromises". For PolyMNIST the paper takes 32 shared and 32 private columns, K = 1 and beta = 2.5.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        private_dim: int | Mapping[str, int],
        *,
        num_samples: int = 1,
        objective: Literal["dreg", "iwae", "elbo"] = "dreg",
        family: Literal["laplace", "normal"] = "laplace",
        beta: Weight = 1.0,
        prior: Prior | None = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
        chunk_size: ChunkSize = None,
    ) -> None:
        check_choice("objective", objective, _OBJECTIVES)
        check_choice("family", family, _FAMILIES)
        make: Any = _OBJECTIVES[objective]
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=Mixture(),
            objective=make(num_samples, beta, chunk_size),
            prior=prior,
            private_dim=private_dim,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
            family=_FAMILIES[family],
        )
        learned = _AUXILIARY[family](learned_scale=True)
        self.auxiliary = nn.ModuleDict({name: learned.for_latent(size) for name, size in self.layout.private.items()})


class IDMVAE(MMVAEPlus):
    """:class:`MMVAEPlus` with two further terms, which keep what modalities share apart from what is private.

    One contrasts the shared means of modalities, the other exchanges private latents between rows and asks to find both
    parts again.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        private_dim: Size of each modality's private latent: one for all, or by name.
        contrast: Weight of InfoNCE between the shared means of modalities, averaged over the pairs.
        augmentation: Weight of the term that exchanges private latents, averaged over the modalities with real data.
        num_samples: K, draws from each component.
        objective: ``"iwae"`` as in the paper, ``"dreg"`` or ``"elbo"``; the same bound where K is 1.
        family: Family of posteriors and priors, ``"normal"`` or ``"laplace"``.
        beta: KL weight of the objective, a number or a schedule.
        prior: One of :mod:`mmvae.priors` over the shared latent; by default the standard one of the family.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Source: Zhang, Shen and Wang 2026, "Information-disentangled multimodal VAE". Departures: see
    :class:`~mmvae.objectives.further_terms.FurtherTerms`; the standard prior has scale one, where the authors' code has
    0.693; no diffusion prior. The default weights are theirs for five modalities on PolyMNIST-Quadrant, where they take
    ``beta=2.5``.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        private_dim: int | Mapping[str, int],
        *,
        contrast: float = 400.0,
        augmentation: float = 100.0,
        num_samples: int = 1,
        objective: Literal["dreg", "iwae", "elbo"] = "iwae",
        family: Literal["laplace", "normal"] = "normal",
        beta: Weight = 1.0,
        prior: Prior | None = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        chunk_size: ChunkSize = None,
    ) -> None:
        super().__init__(
            modalities,
            latent_dim,
            private_dim,
            num_samples=num_samples,
            objective=objective,
            family=family,
            beta=beta,
            prior=prior,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
            chunk_size=chunk_size,
        )


class CMVAE(MMVAEPlus):
    """:class:`MMVAEPlus` with a mixture of Gaussians as the prior of the shared latent, whose components are clusters.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        private_dim: Size of each modality's private latent: one for all, or by name.
        num_clusters: Number of components of the prior.
        num_samples: K, draws from each component of the posterior.
        objective: ``"dreg"``, ``"iwae"`` or ``"elbo"``.
        beta: KL weight of the objective, a number or a schedule.
        prior: Prior in the place of the mixture, such as one that was fitted after training.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Source: Palumbo et al. 2024, "Deep generative clustering with multimodal diffusion variational autoencoders".
    Its expectation over clusters equals the density of the mixture, log p(z) = log Σ_c π_c p(z | c), which is what is
    computed here. Departures: Gaussian components and posteriors, where the paper has Laplace ones; no diffusion
    decoders.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        private_dim: int | Mapping[str, int],
        num_clusters: int = 40,
        *,
        num_samples: int = 1,
        objective: Literal["dreg", "iwae", "elbo"] = "dreg",
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
            private_dim,
            num_samples=num_samples,
            objective=objective,
            family="normal",
            beta=beta,
            prior=GaussianMixture(num_clusters, learned_scale=False) if prior is None else prior,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
            chunk_size=chunk_size,
        )

    @torch.no_grad()
    def clusters(
        self, batch: Any, subset: Subset = None, observed: Any = None, num_samples: int = 16
    ) -> Float[Tensor, "N C"]:
        """p(c | x_S): the probability of each cluster, averaged over draws of the shared posterior.

        Args:
            batch: N rows.
            subset: S; by default all that is observed.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            num_samples: Draws per row, stratified over the components of the posterior.

        Source: Palumbo et al. 2024 take a majority vote over modalities; the average is this library's.
        """
        posterior: Any = self.infer(batch, subset, observed).shared.distribution
        return self._mixture.responsibilities(posterior.stratified_rsample(num_samples)).mean(0)

    @torch.no_grad()
    def prune(self, batch: Any, subset: Subset = None, observed: Any = None, num_samples: int = 16) -> list[int]:
        """Take away clusters that the data does not need, and return those that stay.

        Clusters go one by one, the one with the least mass first, until two are left. The number of them is kept that
        has the smallest β H(c | z) / log C - log p(z) / D, averaged over draws z of the shared posterior: entropy of
        the assignment, relative to the most that C clusters allow, and density of the prior in each of its D columns.
        A cluster that goes has the weight zero; encoders, decoders and the other clusters stay as they are.

        Args:
            batch: N rows.
            subset: S; by default all that is observed.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            num_samples: Draws per row, stratified over the components of the posterior.

        Raises:
            TypeError: For a model whose prior is no mixture of Gaussians.

        Source: Palumbo et al. 2024, whose expectation of log p(z, c) - log p(c | z) over the clusters is log p(z).
        """
        prior = self._mixture
        posterior: Any = self.infer(batch, subset, observed).shared.distribution
        mixture: Any = prior()
        each = mixture.component_log_prob(posterior.stratified_rsample(num_samples)).flatten(0, -2)  # [K N, C]
        beta = float(weight_at(self.objective.beta, self.epoch))
        kept = prior.logits.softmax(0) > 0
        best, found = math.inf, kept
        while int(kept.sum()) >= _FEWEST_CLUSTERS:
            joint = each + prior.logits.masked_fill(~kept, -math.inf).log_softmax(0)
            log_p, share = joint.logsumexp(1, keepdim=True), joint.softmax(1)
            entropy = -torch.where(share > 0, share * (joint - log_p), 0.0).sum(1).mean()
            value = float(beta * entropy / math.log(int(kept.sum())) - log_p.mean() / prior.latent_dim)
            if value < best:
                best, found = value, kept
            least = share.mean(0).masked_fill(~kept, math.inf).argmin()
            kept = kept & (torch.arange(len(kept), device=kept.device) != least)
        prior.logits[~found] = _GONE
        return found.nonzero().flatten().tolist()

    @property
    def _mixture(self) -> GaussianMixture:
        """The prior over the shared latent, whose components are the clusters."""
        prior = self.prior.shared if isinstance(self.prior, WithPrivate) else self.prior
        if not isinstance(prior, GaussianMixture):
            raise TypeError(
                f"this model has no clusters, as its prior is a {type(prior).__name__}; leave prior= out, or fit "
                f"priors.GaussianMixture(20)."
            )
        return prior
