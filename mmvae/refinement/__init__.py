"""Refinement: a posterior improved step by step, datum by datum, by what the generative model says of it."""

from mmvae.refinement.amortized import Amortized
from mmvae.refinement.base import Refinable, Refiner
from mmvae.refinement.bound import Bound
from mmvae.refinement.choice import Refine, chosen_refiner
from mmvae.refinement.gaussian import Gaussian
from mmvae.refinement.gradient import Gradient
from mmvae.refinement.hmc import HMC
from mmvae.refinement.network import RefinementNetwork
from mmvae.refinement.objective import RefinedELBO

__all__ = [
    "HMC",
    "Amortized",
    "Bound",
    "Gaussian",
    "Gradient",
    "Refinable",
    "Refine",
    "RefinedELBO",
    "RefinementNetwork",
    "Refiner",
    "chosen_refiner",
]
