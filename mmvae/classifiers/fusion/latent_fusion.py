"""Fusion of a latent that modalities share with an embedding of each, of which some may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.choices import numbers_checked

Fusion = Literal["transformer", "concat", "none"]
"""How the shared latent and the embeddings come together."""


@numbers_checked
class TransformerFusion(nn.Module):
    """One transformer layer over a token for the shared latent and one for each modality: ``-> [N, dim]``.

    A modality that is not shown is hidden from the attention; the shared latent never is. The result is the output at
    its token.

    Args:
        shared: width of the shared latent.
        widths: of the embeddings.
        dim: of the tokens.
        heads: of the attention.
        dropout: in the layer.

    Attributes:
        dim: of the result.

    Raises:
        ValueError: for a width that heads do not divide.
    """

    def __init__(
        self, shared: int, widths: Sequence[int], dim: int = 128, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"fusion_heads: {dim} features cannot be cut into {heads} heads; take a divisor of {dim}.")
        self.dim = dim
        self.maps = nn.ModuleList(nn.Linear(width, dim) for width in (shared, *widths))
        self.types = nn.Parameter(0.02 * torch.randn(1 + len(widths), dim))
        self.layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout, batch_first=True, norm_first=True)

    def forward(
        self,
        shared: Float[Tensor, "N R"],
        embeddings: Sequence[Tensor],
        shown: Sequence[Bool[Tensor, "N"]],
    ) -> Float[Tensor, "N D"]:
        """The latent, ``[N, dim]``.

        Args:
            shared: the shared latent.
            embeddings: of each modality, ``[N, width]``.
            shown: the rows that may look at each.
        """
        tokens = [linear(each) for linear, each in zip(self.maps, (shared, *embeddings), strict=True)]
        hidden = torch.stack([torch.zeros_like(shown[0]), *(~each for each in shown)], 1)  # [N, 1 + M]
        return self.layer(torch.stack(tokens, 1) + self.types, src_key_padding_mask=hidden)[:, 0]


@numbers_checked
class ConcatFusion(nn.Module):
    """A layer over the shared latent and the embeddings side by side, zeros where one is not shown: ``-> [N, 2 dim]``.

    Args:
        shared: width of the shared latent.
        widths: of the embeddings.
        dim: each is mapped to.
        dropout: of the result.

    Attributes:
        dim: of the result.
    """

    def __init__(self, shared: int, widths: Sequence[int], dim: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim = 2 * dim
        self.maps = nn.ModuleList(nn.Linear(width, dim) for width in (shared, *widths))
        self.layers = nn.Sequential(nn.Linear((1 + len(widths)) * dim, self.dim), nn.GELU(), nn.Dropout(dropout))

    def forward(
        self,
        shared: Float[Tensor, "N R"],
        embeddings: Sequence[Tensor],
        shown: Sequence[Bool[Tensor, "N"]],
    ) -> Float[Tensor, "N D"]:
        """The latent, ``[N, 2 dim]``, of arguments as in :class:`TransformerFusion`."""
        mapped = [
            torch.where(there[:, None], linear(each), 0)
            for linear, each, there in zip(self.maps[1:], embeddings, shown, strict=True)
        ]
        return self.layers(torch.cat([self.maps[0](shared), *mapped], 1))


class NoFusion(nn.Module):
    """The shared latent as it is."""

    def __init__(self, shared: int) -> None:
        super().__init__()
        self.dim = shared

    def forward(
        self,
        shared: Float[Tensor, "N R"],
        embeddings: Sequence[Tensor],
        shown: Sequence[Bool[Tensor, "N"]],
    ) -> Float[Tensor, "N R"]:
        """The shared latent, ``[N, R]``."""
        return shared


def make_latent_fusion(
    kind: Fusion, shared: int, widths: Sequence[int], dim: int, heads: int, dropout: float
) -> TransformerFusion | ConcatFusion | NoFusion:
    """The fusion of a kind.

    Args:
        kind: ``"transformer"``, ``"concat"`` or ``"none"``.
        shared: width of the shared latent.
        widths: of the embeddings.
        dim: of the tokens.
        heads: of the attention.
        dropout: in it.

    Raises:
        ValueError: for another kind.
    """
    if kind == "none":
        return NoFusion(shared)
    if kind == "concat":
        return ConcatFusion(shared, widths, dim, dropout)
    if kind == "transformer":
        return TransformerFusion(shared, widths, dim, heads, dropout)
    raise ValueError(f'fusion: expected "transformer", "concat" or "none", got {kind!r}.')
