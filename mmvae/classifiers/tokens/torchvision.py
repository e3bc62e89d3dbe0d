"""Torchvision's vision transformers as token encoders."""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.classifiers.tokens.base import EncoderOutput, TokenEncoder, joined_mask
from mmvae.classifiers.tokens.blocks import attention_mask
from mmvae.classifiers.tokens.hooks import appended, recorded, with_arguments


class TorchvisionViT(TokenEncoder):
    """A ``torchvision.models.VisionTransformer`` as a token encoder; its classification head is left aside.

    Args:
        module: built by ``torchvision.models.vit_b_16(weights=None)`` and its like, with weights of your own loaded.

    Attributes:
        module: as given; the tokens come from its parts ``conv_proj``, ``class_token`` and ``encoder``.
    """

    dtype = torch.float32
    offers_hidden = True
    takes_extra = True

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = cast(Any, module)
        self.dim, self.depth = self.module.hidden_dim, len(self.module.encoder.layers)
        self.shape = (3, self.module.image_size, self.module.image_size)
        self.heads: int = self.module.encoder.layers[0].num_heads

    @property
    def name(self) -> str:
        """Torchvision's."""
        return type(self.module).__name__

    def settings(self) -> dict[str, Any]:
        """Sizes that the weights do not show."""
        return {"shape": self.shape, "patch": self.module.patch_size, "heads": self.heads}

    def forward(
        self,
        inputs: Tensor,
        mask: Bool[Tensor, "N T"] | None = None,
        extra: Float[Tensor, "k d"] | None = None,
        isolate: bool = False,
    ) -> EncoderOutput:
        """The tokens of N data points; see :meth:`TokenEncoder.forward`."""
        self.check(inputs, extra)
        patches = self.module._process_input(inputs)  # the library has no public name for it
        embedded = torch.cat([self.module.class_token.expand(len(patches), -1, -1), patches], 1)
        rows, length = embedded.shape[:2]
        mask = joined_mask(self.name, mask, None, (rows, length - 1))
        layers, arguments = self.module.encoder.layers, {}
        if mask is not None or (isolate and extra is not None):
            valid = torch.ones(rows, length, dtype=torch.bool, device=embedded.device)
            if mask is not None:
                valid = nn.functional.pad(mask, (1, 0), value=True)
            arguments = {"attn_mask": self._unseen(attention_mask(valid, 0 if extra is None else len(extra), isolate))}
        with (
            appended(self.module, "encoder.dropout", extra),
            with_arguments([layer.self_attention for layer in layers], arguments),
            recorded(layers) as hidden,
        ):
            final = self.module.encoder(embedded)
        states = tuple(state[:, :length] for state in hidden)
        return EncoderOutput(
            final[:, 0], final[:, 1:length], mask, states, None if extra is None else final[:, length:]
        )

    def _unseen(self, attend: Bool[Tensor, "N 1 #S S"]) -> Bool[Tensor, "NH S S"]:
        """What must not be looked at, for each row and head, in the form of ``nn.MultiheadAttention``."""
        length = attend.shape[-1]
        return ~attend.expand(-1, self.heads, length, -1).flatten(0, 1)
