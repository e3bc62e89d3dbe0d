"""A vision transformer of the library's own, small enough for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.classifiers.tokens.blocks import Transformer
from mmvae.classifiers.tokens.own import OwnEncoder, learned_vectors
from mmvae.networks.steps import PatchSteps


class PatchEmbedding(nn.Module):
    """Images to embedded patches, the class token first: ``[N, C, H, W] -> [N, 1 + n, dim]``."""

    def __init__(self, shape: tuple[int, ...], patch: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.steps = PatchSteps(shape, patch)
        self.projection = nn.Linear(self.steps.width, dim)
        self.class_token = learned_vectors(dim)
        self.positions = learned_vectors(1 + self.steps.length, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N S d"]:
        """The tokens ``[N, 1 + n, dim]``, positions added."""
        tokens = self.projection(self.steps(images))
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], 1, -1), tokens], 1)
        return self.dropout(tokens + self.positions)


class ViT(OwnEncoder):
    """A vision transformer: ``[N, C, H, W]`` to a class token and one token per patch.

    Args:
        shape: ``(C, H, W)``, with sides that ``patch`` divides.
        patch: the side of a patch, in pixels.
        dim: d, the width of a token.
        depth: how many blocks.
        heads: of the attention, a divisor of ``dim``.
        mlp_ratio: the hidden width of a block's MLP, in multiples of ``dim``.
        dropout: after the embedding, after attention and in the MLP.

    Raises:
        ValueError: for a shape that is none of images or is not divisible into patches, or sizes that do not fit.

    Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words".
    """

    dtype = torch.float32

    embedding: PatchEmbedding

    def __init__(
        self,
        shape: Sequence[int],
        patch: int = 7,
        dim: int = 64,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        if len(self.shape) != 3 or patch < 1 or any(side < patch or side % patch for side in self.shape[1:]):
            raise ValueError(
                f"ViT: expected images (C, H, W) with sides that are multiples of the patch, got shape {self.shape} "
                f"and patch={patch}; choose a patch that divides both sides, or resize or pad the images."
            )
        self.arguments["shape"] = self.shape
        self.dim, self.depth = dim, depth
        self.transformer = Transformer(dim, depth, heads, mlp_ratio, dropout)
        self.embedding = PatchEmbedding(self.shape, patch, dim, dropout)

    def patches(self, inputs: Float[Tensor, "N C H W"]) -> Float[Tensor, "N n P"]:
        """The pixels of each patch, ``[N, n, C * patch * patch]``: what masked reconstruction predicts."""
        return self.embedding.steps(inputs)

    def valid(self, inputs: Tensor) -> None:
        """All patches are."""
