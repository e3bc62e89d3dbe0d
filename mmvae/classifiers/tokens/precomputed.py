"""An encoder whose data is what another encoder made."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.arguments import Remembers, with_defaults
from mmvae.classifiers.tokens.base import EncoderOutput, TokenEncoder, joined_mask


class Precomputed(Remembers, TokenEncoder):
    """Hidden states that were computed once, ``[N, 1 + n, depth + 1, dim]``, as the output of an encoder.

    Axis 1 runs over the tokens, the class token first; axis 2 over the hidden states and, last, the tokens after the
    last norm: as ``EncoderOutput.states`` has them. The mask of the data is one of steps, with the class token.

    Args:
        dim: d, the width of a token.
        depth: how many hidden states there are.
        length: n, the tokens of every datum beside the class token; ``None`` where it may vary.

    Raises:
        ValueError: for sizes below one.
    """

    dtype = torch.float32
    offers_hidden = True
    takes_extra = False

    def __init__(self, dim: int, depth: int, length: int | None = None) -> None:
        super().__init__()
        self.dim, self.depth = dim, depth
        self.shape = None if length is None else (1 + length, depth + 1, dim)

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, defaults included."""
        return with_defaults(type(self), self.arguments)

    def forward(
        self,
        inputs: Tensor,
        mask: Bool[Tensor, "N T"] | None = None,
        extra: Float[Tensor, "k d"] | None = None,
        isolate: bool = False,
    ) -> EncoderOutput:
        """The tokens of N data points; see :meth:`TokenEncoder.forward`."""
        self.check(inputs, extra)
        if inputs.ndim != 4 or inputs.shape[1] < 2 or inputs.shape[2:] != (self.depth + 1, self.dim):
            raise ValueError(
                f"Precomputed: expected states of shape [N, 1 + n, {self.depth + 1}, {self.dim}] (tokens with the "
                f"class token first, layers and the last output, width), got {list(inputs.shape)}."
            )
        mask = joined_mask(self.name, mask, None, (len(inputs), inputs.shape[1] - 1))
        *hidden, final = inputs.unbind(2)
        return EncoderOutput(final[:, 0], final[:, 1:], mask, tuple(hidden))
