"""A transformer of the library's own for sequences of ids."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mmvae.classifiers.tokens.blocks import Transformer
from mmvae.classifiers.tokens.own import OwnEncoder, learned_vectors


class IdEmbedding(nn.Module):
    """Ids to embedded tokens, the class token first: ``[N, length] -> [N, 1 + length, dim]``."""

    def __init__(self, vocabulary: int, length: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.symbols = learned_vectors(vocabulary, dim)
        self.class_token = learned_vectors(dim)
        self.positions = learned_vectors(1 + length, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Int64[Tensor, "N L"]) -> Float[Tensor, "N S d"]:
        """The tokens ``[N, 1 + length, dim]``, positions added.

        Raises:
            ValueError: for ids outside the vocabulary (on the CPU; elsewhere nothing is waited for).
        """
        if ids.device.type == "cpu" and not torch.compiler.is_exporting():  # a program looks at no values
            self.check(ids)
        tokens = nn.functional.embedding(ids, self.symbols)
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], 1, -1), tokens], 1)
        return self.dropout(tokens + self.positions)

    def check(self, ids: Int64[Tensor, "N L"]) -> None:
        """Raises a ``ValueError`` for ids outside the vocabulary."""
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.symbols):
            raise ValueError(
                f"TextTransformer: expected ids from 0 to {len(self.symbols) - 1}, got {int(ids.min())} to "
                f"{int(ids.max())}; build the encoder for the vocabulary of the data."
            )


class TextTransformer(OwnEncoder):
    """A transformer over ids of words or characters: ``[N, length]`` to a class token and one token per id.

    Args:
        vocabulary: how many ids there are; they run from 0 to ``vocabulary - 1``.
        length: of a sequence.
        dim: d, the width of a token.
        depth: how many blocks.
        heads: of the attention, a divisor of ``dim``.
        mlp_ratio: the hidden width of a block's MLP, in multiples of ``dim``.
        dropout: after the embedding, after attention and in the MLP.
        padding: the id that stands for no token: nothing looks at it.

    Raises:
        ValueError: for sizes that do not fit, or a padding that is no id.

    Source: Vaswani et al. 2017; Devlin et al. 2019 for the class token.
    """

    dtype = torch.int64

    def __init__(
        self,
        vocabulary: int,
        length: int,
        dim: int = 64,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.0,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        if vocabulary < 1 or length < 1 or (padding is not None and not 0 <= padding < vocabulary):
            raise ValueError(
                f"TextTransformer: expected a vocabulary and a length of at least 1, and padding=None or one of its "
                f"ids, got vocabulary={vocabulary}, length={length}, padding={padding}."
            )
        self.shape = (length,)
        self.dim, self.depth = dim, depth
        self.padding = padding
        self.transformer = Transformer(dim, depth, heads, mlp_ratio, dropout)
        self.embedding = IdEmbedding(vocabulary, length, dim, dropout)

    def valid(self, inputs: Int64[Tensor, "N L"]) -> Bool[Tensor, "N L"] | None:
        """Which ids are no padding; ``None`` where none stands for it."""
        return None if self.padding is None else inputs != self.padding
