"""A transformer over the steps of a sequence."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.choices import numbers_checked

POSITION_SCALE = 0.02
"""Standard deviation of learned positions when they are made."""


@numbers_checked
class SequenceEncoder(nn.Module):
    """A linear layer and a transformer over steps: ``[N, T, width] -> [N, T, dim]``.

    Each layer of the transformer normalises after it adds, with ReLU between its two linear layers.

    Args:
        width: of a step.
        dim: D.
        layers: of the transformer.
        heads: of its attention, which divide D.
        feedforward: width of its hidden layer; by default 4 D.
        dropout: of attention and hidden layers.
        positions: for how many steps a position is learned; with 0, steps are a set.

    Source: Xia et al. 2023 in the authors' code, for audio; positions are this library's.
    """

    def __init__(
        self,
        width: int,
        dim: int,
        *,
        layers: int = 2,
        heads: int = 4,
        feedforward: int | None = None,
        dropout: float = 0.1,
        positions: int = 0,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(width, dim)
        self.positions = nn.Parameter(POSITION_SCALE * torch.randn(positions, dim)) if positions else None
        hidden = 4 * dim if feedforward is None else feedforward
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, hidden, dropout, batch_first=True) for _ in range(layers)
        )

    def forward(
        self, steps: Float[Tensor, "N T W"], valid: Bool[Tensor, "N T"] | None = None
    ) -> Float[Tensor, "N T D"]:
        """The features of each step, zeros at those that are not there.

        Args:
            steps: of N data points.
            valid: which are there; the others are seen by none. By default all.
        """
        features = self.linear(steps)
        if self.positions is not None:
            features = features + self.positions[: steps.shape[1]]
        # A row without steps looks at all of them, since a softmax over nothing is NaN; it is zeroed in the end.
        hidden = None if valid is None else ~(valid | ~valid.any(1, keepdim=True))
        for layer in self.layers:
            features = layer(features, src_key_padding_mask=hidden)
        return features if valid is None else torch.where(valid.unsqueeze(-1), features, 0)
