"""Autoencoders of several modalities: what VAEs and deterministic ones share, and the recipes of the latter."""

from mmvae.autoencoders.base import MultimodalAutoencoder

__all__ = ["MultimodalAutoencoder"]
