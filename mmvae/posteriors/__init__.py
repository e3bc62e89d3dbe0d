"""Joint posteriors: from the unimodal experts of a batch to q(z | x_S)."""

from mmvae.posteriors.base import Fusion, JointPosterior, SharedFusion
from mmvae.posteriors.corrected_product import CorrectedProduct
from mmvae.posteriors.dependent_product import DependentProduct
from mmvae.posteriors.experts import Experts, UnimodalExperts
from mmvae.posteriors.flow_posterior import Flow
from mmvae.posteriors.geometric_pool import GeometricPool
from mmvae.posteriors.hoelder_pool import HoelderGaussian, HoelderPool
from mmvae.posteriors.joint_encoder import JointEncoder
from mmvae.posteriors.joint_network import JointNetwork, Reading
from mmvae.posteriors.joint_product import JointProduct
from mmvae.posteriors.mixture import Mixture
from mmvae.posteriors.mixture_of_products import MixtureOfProducts
from mmvae.posteriors.product import Product
from mmvae.posteriors.set_pooling import SetPooling

__all__ = [
    "CorrectedProduct",
    "DependentProduct",
    "Experts",
    "Flow",
    "Fusion",
    "GeometricPool",
    "HoelderGaussian",
    "HoelderPool",
    "JointEncoder",
    "JointNetwork",
    "JointPosterior",
    "JointProduct",
    "Mixture",
    "MixtureOfProducts",
    "Product",
    "Reading",
    "SetPooling",
    "SharedFusion",
    "UnimodalExperts",
]
