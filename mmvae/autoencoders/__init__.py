"""Autoencoders of several modalities: what VAEs and deterministic ones share, and the recipes of the latter."""

from mmvae.autoencoders.base import MultimodalAutoencoder
from mmvae.autoencoders.dccae import DCCAE
from mmvae.autoencoders.deterministic import DeterministicAutoencoder
from mmvae.autoencoders.matched import MAAE, MWAE

__all__ = ["DCCAE", "MAAE", "MWAE", "DeterministicAutoencoder", "MultimodalAutoencoder"]
