"""Networks: encoders from data to features, decoders from latents to likelihood parameters, and heads."""

from mmvae.nn.cca import CCALoss, canonical_correlations, cca_loss
from mmvae.nn.codebook import CLUB, CrossCPC, Kept, Quantised, Quantiser, code_matching, info_nce
from mmvae.nn.codes import CodesDecoder, CodesEncoder
from mmvae.nn.conv import ConvDecoder, ConvEncoder
from mmvae.nn.default import default_decoder, default_encoder
from mmvae.nn.fusion import (
    BilinearPooling,
    ConcatFusion,
    LatentTuning,
    LatentTuningBlock,
    LayerMean,
    TransformerFusion,
    TunedLatents,
    paired_layers,
)
from mmvae.nn.heads import LaplaceHead, NormalHead
from mmvae.nn.lora import LowRank, add_lora, merge_lora
from mmvae.nn.mlp import MLP, MLPDecoder, MLPEncoder
from mmvae.nn.mnist_svhn_text import (
    MNISTDecoder,
    MNISTEncoder,
    SVHNDecoder,
    SVHNEncoder,
    TextDecoder,
    TextEncoder,
)
from mmvae.nn.processes import together
from mmvae.nn.proxies import ProxyHead
from mmvae.nn.sequences import SequenceEncoder
from mmvae.nn.steps import CodeSteps, FeatureSteps, PatchSteps, Steps
from mmvae.nn.tokens import (
    EncoderFacts,
    EncoderOutput,
    Frozen,
    HuggingFaceEncoder,
    Precomputed,
    TextTransformer,
    TokenEncoder,
    TorchvisionViT,
    ViT,
    WrappedEncoder,
    encoder_facts,
    huggingface_encoder,
    wrap_encoder,
)

__all__ = [
    "CLUB",
    "MLP",
    "BilinearPooling",
    "CCALoss",
    "CodeSteps",
    "CodesDecoder",
    "CodesEncoder",
    "ConcatFusion",
    "ConvDecoder",
    "ConvEncoder",
    "CrossCPC",
    "EncoderFacts",
    "EncoderOutput",
    "FeatureSteps",
    "Frozen",
    "HuggingFaceEncoder",
    "Kept",
    "LaplaceHead",
    "LatentTuning",
    "LatentTuningBlock",
    "LayerMean",
    "LowRank",
    "MLPDecoder",
    "MLPEncoder",
    "MNISTDecoder",
    "MNISTEncoder",
    "NormalHead",
    "PatchSteps",
    "Precomputed",
    "ProxyHead",
    "Quantised",
    "Quantiser",
    "SVHNDecoder",
    "SVHNEncoder",
    "SequenceEncoder",
    "Steps",
    "TextDecoder",
    "TextEncoder",
    "TextTransformer",
    "TokenEncoder",
    "TorchvisionViT",
    "TransformerFusion",
    "TunedLatents",
    "ViT",
    "WrappedEncoder",
    "add_lora",
    "canonical_correlations",
    "cca_loss",
    "code_matching",
    "default_decoder",
    "default_encoder",
    "encoder_facts",
    "huggingface_encoder",
    "info_nce",
    "merge_lora",
    "paired_layers",
    "together",
    "wrap_encoder",
]
