"""The mean over layers, mixed before."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.choices import numbers_checked

Mix = Literal["matrix", "vector", "mean", "feature"]
"""How layers are mixed before their mean is taken."""


@numbers_checked
class LayerMean(nn.Module):
    """The mean over layers of a learned mixture of them: ``[L, N, D] -> [N, self.dim]``.

    Args:
        layers: L.
        dim: D.
        mix: ``"matrix"``, a matrix M ``[L, L]`` over the layers, of which only the column means count; ``"vector"``,
            these alone, as one weight for each layer; ``"mean"``, the plain mean, which the first two start from; or
            ``"feature"``, a linear map of the features.
        features: how many numbers ``"feature"`` maps to, by default D.

    Attributes:
        dim: of the result.

    Raises:
        ValueError: for an unknown mixture, or a number of features that no map gives.
    """

    def __init__(self, layers: int, dim: int, mix: Mix = "matrix", features: int | None = None) -> None:
        super().__init__()
        if mix not in ("matrix", "vector", "mean", "feature"):
            raise ValueError(f'mix: expected "matrix", "vector", "mean" or "feature", got {mix!r}.')
        if features is not None and (mix != "feature" or features < 1):
            raise ValueError(f'mix_dim: expected None, or at least 1 with mix="feature"; got {features} with {mix!r}.')
        self.mix = mix
        self.dim = features or dim
        if mix == "matrix":
            self.matrix = nn.Parameter(torch.eye(layers))
        elif mix == "vector":
            self.weights = nn.Parameter(torch.full((layers,), 1 / layers))
        elif mix == "feature":
            self.map = nn.Linear(dim, self.dim)

    def forward(self, layers: Float[Tensor, "L N D"]) -> Float[Tensor, "N R"]:
        """The mean, ``[N, self.dim]``."""
        if self.mix == "mean":
            return layers.mean(0)
        if self.mix == "feature":
            return self.map(layers).mean(0)
        weights = self.matrix.mean(0) if self.mix == "matrix" else self.weights
        return torch.einsum("l,lnd->nd", weights, layers)
