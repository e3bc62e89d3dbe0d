"""One-dimensional convolutional networks for sequences of integer codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mmvae.arguments import Remembers
from mmvae.networks.initial_weights import start_at_full_signal


class CodesEncoder(Remembers, nn.Module):
    """Sequences of integer codes to features: ``[N, L] -> [N, width * ceil(L / 4)]``.

    Args:
        shape: ``(L,)``.
        num_categories: of the codes.
        width: of the embedding and of every layer.
    """

    def __init__(self, shape: Sequence[int], num_categories: int, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_categories, width)
        self.layers = nn.Sequential(
            nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        start_at_full_signal(self)

    def forward(self, codes: Tensor) -> Tensor:
        """Features ``[N, features]``."""
        return self.layers(self.embedding(codes).movedim(-1, 1))


class CodesDecoder(Remembers, nn.Module):
    """Latents to logits of each code: ``[N, latent_dim] -> [N, L, num_categories]``.

    Args:
        latent_dim: D.
        shape: ``(L, num_categories)``.
        width: of every layer.
    """

    def __init__(self, latent_dim: int, shape: Sequence[int], width: int = 128) -> None:
        super().__init__()
        self.length, num_categories = shape
        quarter = math.ceil(self.length / 4)
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width * quarter),
            nn.ReLU(),
            nn.Unflatten(1, (width, quarter)),
            nn.ConvTranspose1d(width, width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(width, width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(width, num_categories, kernel_size=1),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Logits ``[N, L, num_categories]``."""
        return self.layers(latent)[..., : self.length].movedim(1, -1)
