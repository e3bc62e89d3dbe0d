"""What the library's own token encoders share: embedded tokens with a class token first, then blocks."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.arguments import Remembers, with_defaults
from mmvae.classifiers.tokens.base import EncoderOutput, TokenEncoder, joined_mask
from mmvae.classifiers.tokens.blocks import Transformer, attention_mask


def learned_vectors(*sizes: int) -> nn.Parameter:
    """Class tokens, positions or symbols, ``[*, d]``, drawn with a standard deviation of 1 / √d.

    A narrow transformer of short training learns faster from there than from the 0.02 of large ones.
    """
    return nn.Parameter(torch.randn(*sizes) * sizes[-1] ** -0.5)


class OwnEncoder(Remembers, TokenEncoder):
    """An embedding and a transformer that learned tokens can enter.

    Attributes:
        embedding: data to ``[N, 1 + n, dim]``, the class token first, positions added.
        transformer: the blocks and the last norm.
    """

    offers_hidden = True
    takes_extra = True

    embedding: nn.Module
    transformer: Transformer

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, defaults included."""
        return with_defaults(type(self), self.arguments)

    @abstractmethod
    def valid(self, inputs: Tensor) -> Bool[Tensor, "N n"] | None:
        """Which tokens are valid by the data alone; ``None`` for all."""

    def run(
        self, embedded: Float[Tensor, "N S d"], mask: Bool[Tensor, "N S"] | None = None
    ) -> tuple[Float[Tensor, "N S d"], tuple[Tensor, ...]]:
        """The blocks on tokens that are embedded already, all of them or some.

        Args:
            embedded: as from ``embedding``, the class token first.
            mask: which of them are valid; ``None`` for all. The class token must be.

        Returns:
            The tokens after the last norm, and what came out of each block, ``[N, S, d]`` each.
        """
        return self.transformer(embedded, None if mask is None else attention_mask(mask))

    def forward(
        self,
        inputs: Tensor,
        mask: Bool[Tensor, "N T"] | None = None,
        extra: Float[Tensor, "k d"] | None = None,
        isolate: bool = False,
    ) -> EncoderOutput:
        """The tokens of N data points; see :meth:`TokenEncoder.forward`."""
        self.check(inputs, extra)
        embedded = self.embedding(inputs)
        rows, length = embedded.shape[:2]
        mask = joined_mask(self.name, mask, self.valid(inputs), (rows, length - 1))
        valid = None if mask is None else nn.functional.pad(mask, (1, 0), value=True)
        if extra is None:
            final, hidden = self.run(embedded, valid)
            return EncoderOutput(final[:, 0], final[:, 1:], mask, hidden)
        embedded = torch.cat([embedded, extra.to(embedded.dtype).expand(rows, -1, -1)], 1)
        if valid is None:
            valid = torch.ones(1, length, dtype=torch.bool, device=embedded.device)
        final, hidden = self.transformer(embedded, attention_mask(valid, len(extra), isolate))
        hidden = tuple(state[:, :length] for state in hidden)
        return EncoderOutput(final[:, 0], final[:, 1:length], mask, hidden, final[:, length:])
