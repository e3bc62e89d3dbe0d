"""Encoders of tokens: the library's own, other libraries', and any module that returns a class token and tokens."""

from mmvae.nn.tokens.base import EncoderOutput, TokenEncoder
from mmvae.nn.tokens.facts import EncoderFacts, encoder_facts
from mmvae.nn.tokens.frozen import Frozen
from mmvae.nn.tokens.huggingface import HuggingFaceEncoder
from mmvae.nn.tokens.huggingface_folder import huggingface_encoder
from mmvae.nn.tokens.precomputed import Precomputed
from mmvae.nn.tokens.text_transformer import TextTransformer
from mmvae.nn.tokens.torchvision import TorchvisionViT
from mmvae.nn.tokens.vit import ViT
from mmvae.nn.tokens.wrapped import WrappedEncoder
from mmvae.nn.tokens.wrapping import wrap_encoder

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
