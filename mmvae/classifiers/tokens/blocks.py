"""Transformer blocks, and which token may look at which in them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


def attention_mask(valid: Bool[Tensor, "N S"], num_extra: int = 0, isolate: bool = False) -> Bool[Tensor, "N 1 Q K"]:
    """Which query (axis 2) looks at which key (axis 3): at valid ones, and at the extra ones behind them.

    Args:
        valid: which of the S tokens are; N may be 1, for all rows alike.
        num_extra: k, how many tokens follow them, which are always valid and look at all valid ones.
        isolate: the S tokens do not look at the extra ones.

    Returns:
        ``[N, 1, S + k, S + k]``, or ``[N, 1, 1, S + k]`` where all queries look at the same keys.
    """
    keys = F.pad(valid, (0, num_extra), value=True)[:, None, None]
    if not (isolate and num_extra):
        return keys
    length = valid.shape[1]
    queries = torch.ones(length + num_extra, length + num_extra, dtype=torch.bool, device=valid.device)
    queries[:length, length:] = False
    return keys & queries


class Block(nn.Module):
    """One transformer block, norms first: ``[N, S, dim] -> [N, S, dim]``.

    Queries, keys, values and the output of the attention have a linear layer each, so that each can be adapted alone.

    Source: Vaswani et al. 2017; Xiong et al. 2020 for the place of the norms.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "N S d"], attend: Bool[Tensor, "#N 1 #S S"] | None = None
    ) -> Float[Tensor, "N S d"]:
        """The tokens after attention and MLP; ``attend`` as from :func:`attention_mask`."""
        normed = self.attention_norm(tokens)
        query, key, value = (
            layer(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attend)
        tokens = tokens + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        return tokens + self.dropout(self.mlp(self.mlp_norm(tokens)))


class Transformer(nn.Module):
    """Blocks and a last norm.

    Args:
        dim: d, the width of a token.
        depth: how many blocks.
        heads: of the attention; they share d between them.
        mlp_ratio: the hidden width of the MLP of a block, in multiples of d.
        dropout: after attention and in the MLP.

    Raises:
        ValueError: for sizes below one, or a width that the heads cannot share.
    """

    def __init__(self, dim: int, depth: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        if min(dim, depth, heads) < 1 or dim % heads:
            raise ValueError(
                f"dim, depth and heads must be at least 1, and dim a multiple of heads, got dim={dim}, depth={depth}, "
                f"heads={heads}."
            )
        self.blocks = nn.ModuleList(Block(dim, heads, round(mlp_ratio * dim), dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(
        self, tokens: Float[Tensor, "N S d"], attend: Bool[Tensor, "#N 1 #S S"] | None = None
    ) -> tuple[Float[Tensor, "N S d"], tuple[Tensor, ...]]:
        """The tokens after the last norm, and what came out of each block, ``[N, S, d]`` each."""
        hidden = []
        for block in self.blocks:
            tokens = block(tokens, attend)
            hidden.append(tokens)
        return self.norm(tokens), tuple(hidden)
