"""Classifiers that tolerate a missing modality, and the encoders of tokens that they read their modalities through."""

from mmvae.classifiers.classifier import MultimodalClassifier
from mmvae.classifiers.cmpt import CMPT, ProxyHead
from mmvae.classifiers.frozen_classifier import FrozenEncoderClassifier
from mmvae.classifiers.fusion import (
    BilinearPooling,
    ConcatFusion,
    LatentTuning,
    LatentTuningBlock,
    LayerMean,
    TransformerFusion,
    TunedLatents,
    paired_layers,
)
from mmvae.classifiers.late_fusion import LateFusion
from mmvae.classifiers.lora import LowRank, add_lora, merge_lora
from mmvae.classifiers.masked_reconstruction import MaskedReconstruction
from mmvae.classifiers.molt import MoLT
from mmvae.classifiers.tokens import (
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
from mmvae.families import register

__all__ = [
    "CMPT",
    "BilinearPooling",
    "ConcatFusion",
    "EncoderFacts",
    "EncoderOutput",
    "Frozen",
    "FrozenEncoderClassifier",
    "HuggingFaceEncoder",
    "LateFusion",
    "LatentTuning",
    "LatentTuningBlock",
    "LayerMean",
    "LowRank",
    "MaskedReconstruction",
    "MoLT",
    "MultimodalClassifier",
    "Precomputed",
    "ProxyHead",
    "TextTransformer",
    "TokenEncoder",
    "TorchvisionViT",
    "TransformerFusion",
    "TunedLatents",
    "ViT",
    "WrappedEncoder",
    "add_lora",
    "encoder_facts",
    "huggingface_encoder",
    "merge_lora",
    "paired_layers",
    "wrap_encoder",
]

register(metrics="mmvae.classifiers.metrics", report="mmvae.classifiers.report")
