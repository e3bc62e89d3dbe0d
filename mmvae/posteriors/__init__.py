"""Joint posteriors: from the unimodal experts of a batch to q(z | x_S)."""

from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import Experts, UnimodalExperts
from mmvae.posteriors.joint_encoder import JointEncoder
from mmvae.posteriors.mixture import Mixture
from mmvae.posteriors.mixture_of_products import MixtureOfProducts
from mmvae.posteriors.prior import Prior
from mmvae.posteriors.product import Product

__all__ = [
    "Experts",
    "JointEncoder",
    "JointPosterior",
    "Mixture",
    "MixtureOfProducts",
    "Prior",
    "Product",
    "UnimodalExperts",
]
