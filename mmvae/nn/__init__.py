"""Networks: encoders from data to features, decoders from latents to likelihood parameters, and heads."""

from mmvae.nn.codes import CodesDecoder, CodesEncoder
from mmvae.nn.conv import ConvDecoder, ConvEncoder
from mmvae.nn.default import default_decoder, default_encoder
from mmvae.nn.heads import LaplaceHead, NormalHead
from mmvae.nn.mlp import MLP, MLPDecoder, MLPEncoder
from mmvae.nn.mnist_svhn_text import (
    MNISTDecoder,
    MNISTEncoder,
    SVHNDecoder,
    SVHNEncoder,
    TextDecoder,
    TextEncoder,
)

__all__ = [
    "MLP",
    "CodesDecoder",
    "CodesEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "LaplaceHead",
    "MLPDecoder",
    "MLPEncoder",
    "MNISTDecoder",
    "MNISTEncoder",
    "NormalHead",
    "SVHNDecoder",
    "SVHNEncoder",
    "TextDecoder",
    "TextEncoder",
    "default_decoder",
    "default_encoder",
]
