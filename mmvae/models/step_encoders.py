"""The networks that read steps, made from what a model says of their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from mmvae.nn.sequences import ConvStem, SequenceEncoder
from mmvae.nn.steps import PatchSteps, Steps


@dataclass(frozen=True)
class EncoderSizes:
    """The sizes of the networks that read steps; arguments of the models, which explain them."""

    stem: Literal["linear", "conv"]
    layers: int
    heads: int
    feedforward: int | None
    dropout: float
    positions: bool
    max_steps: int

    def positions_of(self, steps: Steps) -> int:
        """For how many steps positions are learned, where they are."""
        return self.max_steps if steps.length is None else steps.length


def make_stems(steps: Mapping[str, Steps], sizes: EncoderSizes) -> dict[str, nn.Module]:
    """What makes of the data of each modality what its encoders read: convolutions for images, or the steps as such.

    Raises:
        ValueError: for an unknown stem, or convolutions where there is no image.
    """
    if sizes.stem not in ("linear", "conv"):
        raise ValueError(f"stem: expected 'linear' or 'conv', got {sizes.stem!r}.")
    if sizes.stem == "linear":
        return dict(steps)
    if not any(isinstance(each, PatchSteps) for each in steps.values()):
        raise ValueError("stem: 'conv' is for images, and no modality comes as nn.PatchSteps; take 'linear'.")
    return {name: ConvStem(each) if isinstance(each, PatchSteps) else each for name, each in steps.items()}


def make_step_encoders(
    steps: Mapping[str, Steps], stems: Mapping[str, nn.Module], dim: int, sizes: EncoderSizes
) -> dict[str, SequenceEncoder]:
    """An encoder to the general vector of each step for each modality.

    Raises:
        ValueError: for sizes out of their range.
    """
    for name, value, least in (("layers", sizes.layers, 0), ("max_steps", sizes.max_steps, 1)):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}.")
    if sizes.heads < 1 or dim % sizes.heads:
        raise ValueError(f"heads: expected a divisor of code_dim, which is {dim}, got {sizes.heads}.")
    return {
        name: SequenceEncoder(
            width_of(stems[name]),
            dim,
            layers=sizes.layers,
            heads=sizes.heads,
            feedforward=sizes.feedforward,
            dropout=sizes.dropout,
            positions=sizes.positions_of(each) if sizes.positions else 0,
        )
        for name, each in steps.items()
    }


def width_of(stem: nn.Module) -> int:
    """The width of the steps that a stem gives."""
    return cast("int", stem.width)
