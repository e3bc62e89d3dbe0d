"""Networks that models of all families are made of: encoders, decoders, heads; steps of data; CCA."""

from mmvae.networks.cca import CCALoss, canonical_correlations, cca_loss
from mmvae.networks.codes import CodesDecoder, CodesEncoder
from mmvae.networks.columns import ColumnsEncoder
from mmvae.networks.conv import ConvDecoder, ConvEncoder
from mmvae.networks.default import default_decoder, default_encoder
from mmvae.networks.heads import LaplaceHead, NormalHead
from mmvae.networks.mlp import MLP, MLPDecoder, MLPEncoder
from mmvae.networks.mnist_svhn_text import (
    MNISTDecoder,
    MNISTEncoder,
    SVHNDecoder,
    SVHNEncoder,
    TextDecoder,
    TextEncoder,
)
from mmvae.networks.sequence_encoder import SequenceEncoder
from mmvae.networks.series import (
    SeriesConvDecoder,
    SeriesConvEncoder,
    SeriesGRUDecoder,
    SeriesGRUEncoder,
    SeriesTransformerDecoder,
    SeriesTransformerEncoder,
)
from mmvae.networks.steps import CodeSteps, FeatureSteps, PatchSteps, Steps
from mmvae.networks.with_mask import WithMask

__all__ = [
    "MLP",
    "CCALoss",
    "CodeSteps",
    "CodesDecoder",
    "CodesEncoder",
    "ColumnsEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "FeatureSteps",
    "LaplaceHead",
    "MLPDecoder",
    "MLPEncoder",
    "MNISTDecoder",
    "MNISTEncoder",
    "NormalHead",
    "PatchSteps",
    "SVHNDecoder",
    "SVHNEncoder",
    "SequenceEncoder",
    "SeriesConvDecoder",
    "SeriesConvEncoder",
    "SeriesGRUDecoder",
    "SeriesGRUEncoder",
    "SeriesTransformerDecoder",
    "SeriesTransformerEncoder",
    "Steps",
    "TextDecoder",
    "TextEncoder",
    "WithMask",
    "canonical_correlations",
    "cca_loss",
    "default_decoder",
    "default_encoder",
]
