"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from mmvae.arguments import Remembers


class MLP(nn.Sequential):
    """Linear layers with ReLU between them, and none after the last."""

    def __init__(self, sizes: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        super().__init__(*layers[:-1])


class MLPEncoder(Remembers, nn.Module):
    """Data of any shape, flattened, to features: ``[N, *shape] -> [N, hidden[-1]]``."""

    def __init__(self, shape: Sequence[int], hidden: Sequence[int] = (512, 512)) -> None:
        super().__init__()
        self.layers = nn.Sequential(MLP((math.prod(shape), *hidden)), nn.ReLU())

    def forward(self, data: Tensor) -> Tensor:
        """Features ``[N, hidden[-1]]``."""
        return self.layers(data.reshape(data.shape[0], -1))


class MLPDecoder(Remembers, nn.Module):
    """Latents to likelihood parameters of any shape: ``[N, latent_dim] -> [N, *shape]``."""

    def __init__(self, latent_dim: int, shape: Sequence[int], hidden: Sequence[int] = (512, 512)) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.layers = MLP((latent_dim, *hidden, math.prod(shape)))

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters ``[N, *shape]``."""
        return self.layers(latent).reshape(-1, *self.shape)
