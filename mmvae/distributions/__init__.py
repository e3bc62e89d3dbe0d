"""Distributions that Pyro lacks: products and mixtures of experts, flows, composites, and their divergence."""

from mmvae.distributions.components import Components, as_mixture
from mmvae.distributions.composite import Blocks, choose_rows, concatenate, select_columns
from mmvae.distributions.divergence import closed_divergence, divergence
from mmvae.distributions.flowed import Flowed
from mmvae.distributions.mixture_of_experts import MixtureOfExperts, stratified_draws, stratified_parts
from mmvae.distributions.moments import mean_of, variance_of
from mmvae.distributions.point_mass import point_mass
from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.distributions.shared_scale import SharedScaleLaplace

__all__ = [
    "Blocks",
    "Components",
    "Flowed",
    "MixtureOfExperts",
    "SharedScaleLaplace",
    "as_mixture",
    "choose_rows",
    "closed_divergence",
    "concatenate",
    "divergence",
    "mean_of",
    "point_mass",
    "product_of_gaussians",
    "select_columns",
    "stratified_draws",
    "stratified_parts",
    "variance_of",
]
