"""Contract tests to inherit, and the linear-Gaussian yardstick."""

from mmvae.testing.autoencoder_contract import AutoencoderContract
from mmvae.testing.exact_models import exact_model
from mmvae.testing.inference_contract import InferenceContract
from mmvae.testing.likelihood_contract import LikelihoodContract
from mmvae.testing.linear_gaussian import LinearGaussian
from mmvae.testing.model_contract import ModelContract
from mmvae.testing.posterior_contract import PosteriorContract

__all__ = [
    "AutoencoderContract",
    "InferenceContract",
    "LikelihoodContract",
    "LinearGaussian",
    "ModelContract",
    "PosteriorContract",
    "exact_model",
]
