"""Distributions that Pyro lacks: products of Gaussian experts, stratified mixtures of experts."""

from mmvae.distributions.concatenate import concatenate
from mmvae.distributions.mixture_of_experts import MixtureOfExperts, stratified_draws, stratified_parts
from mmvae.distributions.point_mass import point_mass
from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.distributions.shared_scale import SharedScaleLaplace

__all__ = [
    "MixtureOfExperts",
    "SharedScaleLaplace",
    "concatenate",
    "point_mass",
    "product_of_gaussians",
    "stratified_draws",
    "stratified_parts",
]
