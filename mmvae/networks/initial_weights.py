"""Weights that deep networks begin with."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd

Weighted = nn.Linear | _ConvNd


def start_at_full_signal(network: nn.Module) -> None:
    """Draw the weights of all hidden layers anew, so that a signal leaves the last as large as it entered the first.

    PyTorch's own draw shrinks a signal to four tenths at each layer with a ReLU. Behind four convolutions all rows
    then look alike: features of street digits differ by 0.003 between rows, and no encoder learns from them for
    thousands of steps. Hidden are the layers that a ReLU follows; the last layer of a decoder stays as it is, and
    starts with small outputs. Biases of hidden layers become zero.

    Args:
        network: Linear layers, convolutions and transposed convolutions, whose modules stand in the order of the
            computation.

    Source: He et al. 2015, "Delving deep into rectifiers".
    """
    for layer in _hidden(network):
        nn.init.normal_(layer.weight, std=math.sqrt(2 / _inputs(layer)))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _hidden(network: nn.Module) -> Iterator[Weighted]:
    """Layers with weights whose output goes through a ReLU."""
    last: Weighted | None = None
    for part in network.modules():
        if isinstance(part, Weighted):
            last = part
        elif isinstance(part, nn.ReLU) and last is not None:
            yield last
            last = None


def _inputs(layer: Weighted) -> float:
    """How many numbers are summed for one of the layer's outputs, away from borders.

    A transposed convolution that neither strides nor pads spreads a single pixel, so that its kernel does not count.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features
    inputs: float = layer.in_channels // layer.groups
    for kernel, stride, padding in zip(layer.kernel_size, layer.stride, layer.padding, strict=True):
        if not layer.transposed:
            inputs *= kernel
        elif stride > 1 or int(padding) > 0:
            inputs *= kernel / stride
    return inputs
