"""Networks over the steps of a datum: stems, encoders, decoders, and readouts that make steps of one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.networks.masked import masked_mean
from mmvae.networks.mlp import MLP
from mmvae.networks.sequence_encoder import SequenceEncoder
from mmvae.networks.steps import PatchSteps, Steps

_STEM_CHANNELS = (32, 64, 128)


class ConvStem(nn.Module):
    """Convolutions in the place of the raw patches of an image: ``[N, C, H, W] -> [N, T, width]``.

    Three convolutions of stride two, with ReLU, and an average over each cell of the grid of patches.

    Args:
        steps: the patches, which say how many steps there are.

    Attributes:
        width: of a step.
    """

    def __init__(self, steps: PatchSteps) -> None:
        super().__init__()
        channels = (steps.padded[0], *_STEM_CHANNELS)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        self.steps = steps
        self.width = channels[-1]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(steps.grid), nn.Flatten(2))

    def forward(self, data: Float[Tensor, "N C H W"]) -> Float[Tensor, "N T F"]:
        """A step for each patch, row by row."""
        return self.layers(self.steps.pad(data)).mT


class StepEncoder(nn.Sequential):
    """A linear layer and a ReLU, step by step: ``[..., width] -> [..., dim]``, none below zero."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(nn.Linear(width, dim), nn.ReLU())


class StepDecoder(nn.Module):
    """A general and a specific vector to what they are of: ``[..., D], [..., D] -> [..., width]``.

    Args:
        dim: D, of both.
        width: of the output.
        hidden: widths of layers with ReLU in between; none in the authors' code.

    Source: Xia et al. 2023 in the authors' code.
    """

    def __init__(self, dim: int, width: int, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        self.general = nn.Linear(dim, dim)
        self.layers = MLP((2 * dim, *hidden, width))

    def forward(self, general: Float[Tensor, "*P D"], specific: Float[Tensor, "*P D"]) -> Float[Tensor, "*P W"]:
        """The output for each pair of vectors."""
        return self.layers(torch.cat([self.general(general), specific], -1))


class CoarseEncoder(nn.Module):
    """The features of steps pooled to one vector, and general and specific vectors made of that.

    Args:
        dim: D, of all of them.
        specific: whether to make specific vectors.

    Attributes:
        linear: what is applied to the mean over the steps.
        general: from pooled vectors to general ones.
        specific: from pooled vectors to specific ones, or ``None``.

    Source: Huang et al. 2025 (FCID) in the authors' code; P, Φ_c and Ψ_c of its figure.
    """

    def __init__(self, dim: int, specific: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.general = StepEncoder(dim, dim)
        self.specific = StepEncoder(dim, dim) if specific else None

    def pool(self, features: Float[Tensor, "N T D"], valid: Bool[Tensor, "N T"] | None = None) -> Float[Tensor, "N D"]:
        """One vector a row, of the steps that are there (by default all)."""
        return self.linear(masked_mean(features, valid))

    def forward(
        self, features: Float[Tensor, "N T D"], valid: Bool[Tensor, "N T"] | None = None
    ) -> Float[Tensor, "N D"]:
        """The general vector of each row."""
        return self.general(self.pool(features, valid))

    def split(self, features: Float[Tensor, "N T D"]) -> Float[Tensor, "N T D"]:
        """The general vector of each step, as if it were alone."""
        return self.general(self.linear(features))


class StepReadout(nn.Module):
    """One vector to all steps of a datum: ``[P, D] -> [P, T, width]``.

    A learned vector for each step is added to a linear image of the vector; two layers with ReLU make a step of that.

    Args:
        dim: D.
        width: of a step.
        most: how many steps there may be.
        hidden: width of the layers.
        length: T, if every datum has as many steps.

    Attributes:
        longest: how many steps it makes: T, or as many as the longest datum had in training.
    """

    longest: Tensor

    def __init__(self, dim: int, width: int, most: int, hidden: int, length: int | None = None) -> None:
        super().__init__()
        self.vector = nn.Linear(dim, hidden)
        self.positions = nn.Parameter(torch.randn(most, hidden))
        self.layers = nn.Sequential(nn.ReLU(), MLP((hidden, hidden, width)))
        self.register_buffer("longest", torch.tensor(1 if length is None else length))

    def forward(self, vectors: Float[Tensor, "P D"], length: int | None = None) -> Float[Tensor, "P T W"]:
        """The steps for each vector.

        Args:
            vectors: of P data points.
            length: T; in training mode it is remembered. By default the longest so far.
        """
        if length is None:
            length = int(self.longest)
        elif self.training:
            self.longest.clamp_(min=length)
        return self.layers(self.vector(vectors).unsqueeze(1) + self.positions[:length])


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
