"""Weights that deep encoders begin with."""

from __future__ import annotations

from torch import nn


def start_at_full_signal(encoder: nn.Module) -> None:
    """Draw the weights of all layers anew, so that a signal leaves the last layer as large as it entered the first.

    PyTorch's own draw shrinks a signal to four tenths at each layer with a ReLU. Behind four convolutions all rows
    then look alike: features of street digits differ by 0.003 between rows, and the encoder learns nothing for
    thousands of steps. Biases become zero.

    Decoders keep PyTorch's draw, which starts them near a constant output: from full-sized noise they learn slower.

    Args:
        encoder: Linear layers and convolutions, each with a ReLU behind it.

    Source: He et al. 2015, "Delving deep into rectifiers".
    """
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
