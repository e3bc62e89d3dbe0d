"""Proxy tokens behind an encoder that has no place for them inside."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class ProxyHead(nn.Module):
    """Learned tokens that read the tokens of an encoder, from outside: ``[N, n, d] -> [N, k, d]``.

    One layer of a transformer over the learned tokens and those of the encoder, of which the outputs at the learned
    ones are kept.

    Args:
        dim: d, the width of a token.
        count: k, how many are learned.
        dropout: of the layer.
    """

    def __init__(self, dim: int, count: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(count, dim))
        heads = math.gcd(4, dim)
        self.layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout, batch_first=True)

    def forward(
        self, tokens: Float[Tensor, "N n d"], mask: Bool[Tensor, "N n"] | None = None
    ) -> Float[Tensor, "N k d"]:
        """The learned tokens after they have read the valid ones of each datum."""
        count = len(self.tokens)
        sequence = torch.cat([self.tokens.expand(tokens.shape[0], -1, -1), tokens], 1)
        hidden = None if mask is None else torch.cat([mask.new_zeros(mask.shape[0], count), ~mask], 1)
        return self.layer(sequence, src_key_padding_mask=hidden)[:, :count]
