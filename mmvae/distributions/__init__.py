"""Distributions that Pyro lacks or that hold where float32 does not, and what belongs to them.

Products and mixtures of experts, flows, composites of others, counts; divergence, moments, bounds of parameters.
"""

from mmvae.distributions.by_column import ByColumn
from mmvae.distributions.components import Components, as_mixture
from mmvae.distributions.composite import Blocks, WithGaps, choose_rows, concatenate, select_columns
from mmvae.distributions.continuous_bernoulli import LogitContinuousBernoulli
from mmvae.distributions.counts import LogNegativeBinomial, LogPoisson
from mmvae.distributions.divergence import closed_divergence, divergence
from mmvae.distributions.flowed import Flowed
from mmvae.distributions.full_precision import at_least_float32, without_autocast
from mmvae.distributions.in_data_units import InDataUnits, seen_and_slopes
from mmvae.distributions.mixture_of_experts import MixtureOfExperts, stratified_draws, stratified_parts
from mmvae.distributions.moments import mean_of, variance_of
from mmvae.distributions.point_mass import point_mass
from mmvae.distributions.product_of_gaussians import (
    corrected_product_of_gaussians,
    pool_of_gaussians,
    product_of_dependent_gaussians,
    product_of_gaussians,
)
from mmvae.distributions.shared_scale import SharedScaleLaplace, SharedScaleNormal
from mmvae.distributions.soft_clamp import soft_clamp

__all__ = [
    "Blocks",
    "ByColumn",
    "Components",
    "Flowed",
    "InDataUnits",
    "LogNegativeBinomial",
    "LogPoisson",
    "LogitContinuousBernoulli",
    "MixtureOfExperts",
    "SharedScaleLaplace",
    "SharedScaleNormal",
    "WithGaps",
    "as_mixture",
    "at_least_float32",
    "choose_rows",
    "closed_divergence",
    "concatenate",
    "corrected_product_of_gaussians",
    "divergence",
    "mean_of",
    "point_mass",
    "pool_of_gaussians",
    "product_of_dependent_gaussians",
    "product_of_gaussians",
    "seen_and_slopes",
    "select_columns",
    "soft_clamp",
    "stratified_draws",
    "stratified_parts",
    "variance_of",
    "without_autocast",
]
