"""Convolutional networks for images of any size, for sequences of channels and for volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mmvae.arguments import Remembers
from mmvae.networks.hidden import Norm, hidden_layers
from mmvae.networks.initial_weights import start_at_full_signal

_SMALLEST_SIDE = 4
_LONG = 64
"""Steps of a sequence from which on it is quartered: a thousand steps would be many layers, and most of the work."""
_WIDEST = 8
"""Times the channels after the first convolution: no layer has more."""

_CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: tuple[type[nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def _sizes(sides: Sequence[int]) -> list[tuple[int, ...]]:
    """The sizes on the way down: halved until the smallest side would fall below four, long sequences by quarters."""
    sizes = [tuple(sides)]
    while min(sizes[-1]) // 2 >= _SMALLEST_SIDE or len(sizes) == 1:
        sizes.append(tuple(side // _factor(sizes[-1]) for side in sizes[-1]))
    return sizes


def _factor(sides: tuple[int, ...]) -> int:
    return 4 if len(sides) == 1 and sides[0] >= _LONG else 2


def _window(sides: tuple[int, ...]) -> dict[str, int]:
    """Kernel, stride and padding of the convolution that reads so large an input."""
    factor = _factor(sides)
    return {"kernel_size": 2 * factor, "stride": factor, "padding": factor // 2}


def _checked(shape: Sequence[int], sides: int) -> None:
    if not 1 <= sides <= 3 or len(shape) <= sides or min(shape[1 : 1 + sides]) < 2:
        raise ValueError(
            f"shape: convolutions need (channels, *sides) with one to three sides of at least 2, got {tuple(shape)}."
        )


class ConvEncoder(Remembers, nn.Module):
    """Strided convolutions that halve an image until it is about four pixels wide: ``[N, C, H, W] -> [N, features]``.

    Sequences ``[N, C, T]`` and volumes ``[N, C, D, H, W]`` are encoded likewise.

    Args:
        shape: ``(C, H, W)``, or with one or three sides, each of at least two pixels.
        width: channels after the first convolution; they double at each further one, up to eight times this.
        norm: Normalisation after each convolution: ``"batch"``, ``"layer"`` or ``None``.
        dropout: Share of hidden numbers that training sets to zero.

    Raises:
        ValueError: For another number of sides, or a side below two.
    """

    def __init__(self, shape: Sequence[int], width: int = 32, norm: Norm = None, dropout: float = 0.0) -> None:
        super().__init__()
        channels, *sides = shape
        _checked(shape, len(sides))
        convolution = _CONVOLUTIONS[len(sides) - 1]
        sizes = _sizes(sides)
        widths = [width * min(2**depth, _WIDEST) for depth in range(len(sizes) - 1)]
        layers: list[nn.Module] = []
        for depth, (inputs, outputs) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
            layers.append(convolution(inputs, outputs, **_window(sizes[depth])))
            layers += hidden_layers(outputs, len(sides), norm, dropout)
        # Flattened before its activation, the last layer sees numbers that lie in their order, forward and backward.
        last = max(place for place, layer in enumerate(layers) if isinstance(layer, nn.ReLU))
        self.layers = nn.Sequential(*layers[:last], nn.Flatten(), *layers[last:])
        start_at_full_signal(self)

    def forward(self, data: Tensor) -> Tensor:
        """Features ``[N, features]``."""
        return self.layers(data)


class ConvDecoder(Remembers, nn.Module):
    """The mirror image of :class:`ConvEncoder`: ``[N, latent_dim] -> [N, C, H, W, *rest]``.

    Args:
        latent_dim: D.
        shape: ``(C, H, W)``, or ``(C, H, W, P)`` where the likelihood has P parameters per number.
        width: as of the encoder.
        norm: Normalisation of hidden layers: ``"batch"``, ``"layer"`` or ``None``.
        dropout: Share of hidden numbers that training sets to zero.
        sides: How many of the sizes behind C are sides: 2 for images, 3 for volumes, 1 for sequences.

    Raises:
        ValueError: For another number of sides, or a side below two.
    """

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        width: int = 32,
        norm: Norm = None,
        dropout: float = 0.0,
        sides: int = 2,
    ) -> None:
        super().__init__()
        _checked(shape, sides)
        channels, rest = shape[0], tuple(shape[1 + sides :])
        self.channels, self.rest = channels, rest
        sizes = _sizes(shape[1 : 1 + sides])
        widths = [width * min(2**depth, _WIDEST) for depth in range(len(sizes) - 1)]
        bottom = (widths[-1], *sizes[-1])
        outputs = [*reversed(widths[:-1]), channels * math.prod(rest)]
        layers: list[nn.Module] = [nn.Linear(latent_dim, math.prod(bottom)), nn.ReLU(inplace=True)]
        layers += [nn.Dropout(dropout)] if dropout else []
        layers.append(nn.Unflatten(1, bottom))
        transposed = _TRANSPOSED[sides - 1]
        for depth, (here, there) in enumerate(zip([widths[-1], *outputs[:-1]], outputs, strict=True)):
            small, large = sizes[-1 - depth], sizes[-2 - depth]
            window = _window(large)
            odd = tuple(up - window["stride"] * down for down, up in zip(small, large, strict=True))  # what was dropped
            layers.append(transposed(here, there, **window, output_padding=odd))
            layers += hidden_layers(there, sides, norm, dropout)
        last = max(place for place, layer in enumerate(layers) if isinstance(layer, transposed))
        self.layers = nn.Sequential(*layers[: last + 1])

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters ``[N, C, H, W, *rest]``."""
        image = self.layers(latent)
        if not self.rest:
            return image
        places = range(len(self.rest))
        image = image.unflatten(1, (self.channels, *self.rest))
        return image.movedim([2 + place for place in places], [place - len(places) for place in places])
