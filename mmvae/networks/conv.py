"""Convolutional networks for images of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mmvae.arguments import Remembers

_SMALLEST_SIDE = 4


def _sides(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes that an image has on its way down, halved until its smaller side would fall below four."""
    sides = [(height, width)]
    while min(sides[-1]) // 2 >= _SMALLEST_SIDE or len(sides) == 1:
        sides.append((sides[-1][0] // 2, sides[-1][1] // 2))
    return sides


class ConvEncoder(Remembers, nn.Module):
    """Strided convolutions that halve an image until it is about four pixels wide: ``[N, C, H, W] -> [N, features]``.

    Args:
        shape: ``(C, H, W)``, with sides of at least two pixels.
        width: channels after the first convolution; they double at each further one, up to eight times this.
    """

    def __init__(self, shape: Sequence[int], width: int = 32) -> None:
        super().__init__()
        channels, height, side = shape
        sides = _sides(height, side)
        widths = [width * min(2**depth, 8) for depth in range(len(sides) - 1)]
        layers: list[nn.Module] = []
        for inputs, outputs in zip([channels, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1), nn.ReLU(inplace=True)]
        # Flattened first, the last layer sees numbers that lie in their order, forward and backward.
        self.layers = nn.Sequential(*layers[:-1], nn.Flatten(), layers[-1])

    def forward(self, data: Tensor) -> Tensor:
        """Features ``[N, features]``."""
        return self.layers(data)


class ConvDecoder(Remembers, nn.Module):
    """The mirror image of :class:`ConvEncoder`: ``[N, latent_dim] -> [N, C, H, W, *rest]``.

    Args:
        latent_dim: D.
        shape: ``(C, H, W)``, or ``(C, H, W, P)`` where the likelihood has P parameters per number.
        width: as of the encoder.
    """

    def __init__(self, latent_dim: int, shape: Sequence[int], width: int = 32) -> None:
        super().__init__()
        channels, height, side, *rest = shape
        self.channels, self.rest = channels, tuple(rest)
        sides = _sides(height, side)
        widths = [width * min(2**depth, 8) for depth in range(len(sides) - 1)]
        bottom = (widths[-1], *sides[-1])
        outputs = [*reversed(widths[:-1]), channels * math.prod(rest)]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, math.prod(bottom)),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, bottom),
        ]
        for depth, (here, there) in enumerate(zip([widths[-1], *outputs[:-1]], outputs, strict=True)):
            small, large = sides[-1 - depth], sides[-2 - depth]
            odd = (large[0] - 2 * small[0], large[1] - 2 * small[1])  # halving dropped a row or a column
            layers += [
                nn.ConvTranspose2d(here, there, 4, stride=2, padding=1, output_padding=odd),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters ``[N, C, H, W, *rest]``."""
        image = self.layers(latent)
        return image.unflatten(1, (self.channels, *self.rest)).movedim(2, -1) if self.rest else image
