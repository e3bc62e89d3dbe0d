"""Priors over the latent: fixed, learned with the model, or fitted to a trained one (:func:`mmvae.fit_prior`)."""

from mmvae.priors.base import Prior, WithPrivate
from mmvae.priors.conditional import ConditionalNormal
from mmvae.priors.diffusion import Diffusion
from mmvae.priors.flow_prior import Flow
from mmvae.priors.gaussian_mixture import GaussianMixture
from mmvae.priors.location_scale import Laplace, Normal, StandardNormal, prior_of_layout
from mmvae.priors.vamp import Vamp

__all__ = [
    "ConditionalNormal",
    "Diffusion",
    "Flow",
    "GaussianMixture",
    "Laplace",
    "Normal",
    "Prior",
    "StandardNormal",
    "Vamp",
    "WithPrivate",
    "prior_of_layout",
]
