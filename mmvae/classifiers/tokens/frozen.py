"""An encoder that keeps what it learned before."""

from __future__ import annotations

import copy
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.arguments import Remembers
from mmvae.classifiers.tokens.base import EncoderOutput, TokenEncoder
from mmvae.classifiers.tokens.wrapped import wrap_encoder


class Frozen(Remembers, TokenEncoder):
    """A copy of an encoder whose weights and running statistics never change and which has no dropout.

    It is in evaluation mode for ever: ``train()`` of a model that holds it does not reach inside. Gradients flow
    through it, to extra tokens and to adapters that are added to the copy; where there are none, no graph is built.

    Args:
        encoder: a token encoder, of a frozen one that inside it; any other module goes through :func:`wrap_encoder`
            first.

    Attributes:
        encoder: the frozen copy.
    """

    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        inner = encoder.encoder if isinstance(encoder, Frozen) else wrap_encoder(encoder)
        self.encoder = copy.deepcopy(inner).requires_grad_(False)
        self.arguments["encoder"] = self.encoder  # so that the original is not kept alive
        self.dim, self.depth = self.encoder.dim, self.encoder.depth
        self.shape, self.dtype = self.encoder.shape, self.encoder.dtype
        self.offers_hidden, self.takes_extra = self.encoder.offers_hidden, self.encoder.takes_extra
        self.train(False)

    @property
    def name(self) -> str:
        """That of the encoder inside."""
        return self.encoder.name

    def settings(self) -> dict[str, Any]:
        """Those of the encoder inside."""
        return self.encoder.settings()

    def train(self, mode: bool = True) -> Frozen:
        """Stays in evaluation mode, whatever is asked for."""
        return super().train(False)

    def forward(
        self,
        inputs: Tensor,
        mask: Bool[Tensor, "N T"] | None = None,
        extra: Float[Tensor, "k d"] | None = None,
        isolate: bool = False,
    ) -> EncoderOutput:
        """The tokens of N data points; see :meth:`TokenEncoder.forward`."""
        return self.encoder(inputs, mask, extra, isolate)
