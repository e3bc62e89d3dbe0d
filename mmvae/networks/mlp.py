"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from mmvae.arguments import Remembers
from mmvae.networks.hidden import Norm, hidden_layers


class MLP(nn.Sequential):
    """Linear layers with ReLU between them, and none after the last.

    Args:
        sizes: Widths, from the input to the output.
        norm: Normalisation of hidden layers: ``"batch"``, ``"layer"`` or ``None``.
        dropout: Share of hidden numbers that training sets to zero.
    """

    def __init__(self, sizes: Sequence[int], norm: Norm = None, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), *hidden_layers(outputs, 0, norm, dropout)]
        last = max((place for place, layer in enumerate(layers) if isinstance(layer, nn.Linear)), default=-1)
        super().__init__(*layers[: last + 1])


class MLPEncoder(Remembers, nn.Module):
    """Data of any shape, flattened, to features: ``[N, *shape] -> [N, hidden[-1]]``.

    Args:
        shape: Shape of one row.
        hidden: Widths of the layers.
        norm: Normalisation after each layer: ``"batch"``, ``"layer"`` or ``None``. ``"layer"`` helps with counts.
        dropout: Share of the numbers after each layer that training sets to zero.
    """

    def __init__(
        self, shape: Sequence[int], hidden: Sequence[int] = (512, 512), norm: Norm = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        sizes = (math.prod(shape), *hidden)
        self.layers = nn.Sequential(MLP(sizes, norm, dropout), *hidden_layers(sizes[-1], 0, norm, dropout))

    def forward(self, data: Tensor) -> Tensor:
        """Features ``[N, hidden[-1]]``."""
        return self.layers(data if data.ndim == 2 else data.reshape(data.shape[0], -1))


class MLPDecoder(Remembers, nn.Module):
    """Latents to likelihood parameters of any shape: ``[N, latent_dim] -> [N, *shape]``.

    Args:
        latent_dim: D.
        shape: Shape of the output of one row.
        hidden: Widths of the hidden layers.
        norm: Normalisation of hidden layers: ``"batch"``, ``"layer"`` or ``None``.
        dropout: Share of hidden numbers that training sets to zero.
    """

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        hidden: Sequence[int] = (512, 512),
        norm: Norm = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.layers = MLP((latent_dim, *hidden, math.prod(shape)), norm, dropout)

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters ``[N, *shape]``."""
        parameters = self.layers(latent)
        return parameters if len(self.shape) == 1 else parameters.reshape(-1, *self.shape)
