"""Distributions that Pyro lacks, or that hold where float32 does not, and what keeps parameters in bounds."""

from mmvae.distributions.concatenate import concatenate
from mmvae.distributions.continuous_bernoulli import LogitContinuousBernoulli
from mmvae.distributions.counts import LogNegativeBinomial, LogPoisson
from mmvae.distributions.full_precision import at_least_float32, without_autocast
from mmvae.distributions.mixture import MixtureOfExperts, stratified_draws, stratified_parts
from mmvae.distributions.point_mass import point_mass
from mmvae.distributions.product import corrected_product_of_gaussians, product_of_gaussians
from mmvae.distributions.shared_scale import SharedScaleLaplace
from mmvae.distributions.soft_clamp import soft_clamp

__all__ = [
    "LogNegativeBinomial",
    "LogPoisson",
    "LogitContinuousBernoulli",
    "MixtureOfExperts",
    "SharedScaleLaplace",
    "at_least_float32",
    "concatenate",
    "corrected_product_of_gaussians",
    "point_mass",
    "product_of_gaussians",
    "soft_clamp",
    "stratified_draws",
    "stratified_parts",
    "without_autocast",
]
