"""The networks of the MNIST-SVHN-Text protocol, as the field reuses them.

Source: the code of Sutter et al. 2021 (MoPoE); sizes in the table of its job file. Encoders give features; the linear
heads of 20 that end them there are added by the model. The weights of encoders begin at the size of He et al. 2015 and
not at PyTorch's, which is this library's departure: otherwise a street encoder learns nothing for long.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmvae.arguments import Remembers
from mmvae.networks.initial_weights import start_at_full_signal

ALPHABET_SIZE = 71
TEXT_LENGTH = 8


class MNISTEncoder(Remembers, nn.Sequential):
    """``[N, 1, 28, 28] -> [N, 400]``: one hidden layer."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 400), nn.ReLU())
        start_at_full_signal(self)


class MNISTDecoder(Remembers, nn.Sequential):
    """``[N, D] -> [N, 1, 28, 28]``: one hidden layer, values in (0, 1)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))
        )


class SVHNEncoder(Remembers, nn.Sequential):
    """``[N, 3, 32, 32] -> [N, 128]``: four strided convolutions."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 32, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 128, kernel_size=4, stride=2, padding=0),
            nn.ReLU(),
            nn.Flatten(),
        )
        start_at_full_signal(self)


class SVHNDecoder(Remembers, nn.Sequential):
    """``[N, D] -> [N, 3, 32, 32]``: four transposed convolutions, no output activation."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, 128),
            nn.ReLU(),
            nn.Unflatten(1, (128, 1, 1)),
            nn.ConvTranspose2d(128, 64, kernel_size=4, stride=1, padding=0),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 64, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 3, kernel_size=4, stride=2, padding=1),
        )


class TextEncoder(Remembers, nn.Module):
    """``[N, 8] -> [N, 128]``: three convolutions along the word; codes are integers from 0 to 70."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols = nn.Conv1d(ALPHABET_SIZE, 128, kernel_size=1)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(128, 128, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, 128, kernel_size=4, stride=2, padding=0),
            nn.ReLU(),
            nn.Flatten(),
        )
        start_at_full_signal(self)
        nn.init.normal_(self.symbols.weight)  # it is read as an embedding, a column at a time

    def forward(self, codes: Tensor) -> Tensor:
        """Features ``[N, 128]``."""
        # A convolution of width one over one-hot symbols is a look-up of a column of its weight.
        assert self.symbols.bias is not None  # a convolution has a bias unless told otherwise
        symbols = nn.functional.embedding(codes, self.symbols.weight.squeeze(-1).T) + self.symbols.bias
        return self.layers(symbols.movedim(-1, 1))


class TextDecoder(Remembers, nn.Module):
    """``[N, D] -> [N, 8, 71]``: logits of the symbol at each place."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, 128),
            nn.ReLU(),
            nn.Unflatten(1, (128, 1)),
            nn.ConvTranspose1d(128, 128, kernel_size=4, stride=1, padding=0),
            nn.ReLU(),
            nn.ConvTranspose1d(128, 128, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, ALPHABET_SIZE, kernel_size=1),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Logits ``[N, 8, 71]``."""
        return torch.movedim(self.layers(latent), 1, -1)
