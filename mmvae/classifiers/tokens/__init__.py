"""Encoders of tokens: the library's own, other libraries', and any module that returns a class token and tokens."""

from mmvae.classifiers.tokens.base import EncoderOutput, TokenEncoder
from mmvae.classifiers.tokens.facts import EncoderFacts, encoder_facts
from mmvae.classifiers.tokens.frozen import Frozen
from mmvae.classifiers.tokens.huggingface import HuggingFaceEncoder, huggingface_encoder
from mmvae.classifiers.tokens.precomputed import Precomputed
from mmvae.classifiers.tokens.text_transformer import TextTransformer
from mmvae.classifiers.tokens.torchvision import TorchvisionViT
from mmvae.classifiers.tokens.vit import ViT
from mmvae.classifiers.tokens.wrapped import WrappedEncoder, wrap_encoder

__all__ = [
    "EncoderFacts",
    "EncoderOutput",
    "Frozen",
    "HuggingFaceEncoder",
    "Precomputed",
    "TextTransformer",
    "TokenEncoder",
    "TorchvisionViT",
    "ViT",
    "WrappedEncoder",
    "encoder_facts",
    "huggingface_encoder",
    "wrap_encoder",
]
