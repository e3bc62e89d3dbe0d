"""What stands between two layers of a network: a normalisation, an activation, dropout."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

Norm = Literal["batch", "layer"] | None
"""Normalisation of hidden layers: over the rows of a batch, over the features of a row, or none."""

_BATCH_NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""By the number of sides of what is normalised, from vectors on."""


def hidden_layers(width: int, sides: int, norm: Norm, dropout: float) -> list[nn.Module]:
    """What follows a hidden layer: its normalisation, a ReLU, and dropout.

    Args:
        width: Features, or channels, of the layer.
        sides: Dimensions beside rows and channels: 0 for vectors, 2 for images.
        norm: ``"layer"`` normalises each row over its features (of an image, over all channels and pixels) and so
            hides the scale of the row as a whole; ``"batch"`` normalises each feature over the rows of a batch.
        dropout: Share of hidden numbers that training sets to zero.

    Raises:
        ValueError: For another normalisation, or a share outside 0 to 1.
    """
    if norm not in (None, "batch", "layer"):
        names = ", ".join(map(repr, get_args(get_args(Norm)[0])))
        raise ValueError(f"norm: expected one of {names} or None, got {norm!r}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected a share from 0 to below 1, got {dropout!r}.")
    layers: list[nn.Module] = []
    if norm == "batch":
        layers.append(_BATCH_NORMS[sides](width))
    elif norm == "layer":
        layers.append(nn.GroupNorm(1, width) if sides else nn.LayerNorm(width))
    layers.append(nn.ReLU(inplace=bool(sides)))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return layers
