"""A datum as a sequence of steps, and back: features, patches of an image, codes."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmvae.arguments import Remembers
from mmvae.casting import narrowed


class Steps(Remembers, nn.Module, ABC):
    """The steps of a modality: from a datum to a sequence of vectors, and back; without weights.

    Attributes:
        width: of a step.
        length: T, where every datum has as many steps; ``None``: as many as come.
        shape: of one datum; ``None`` where sequences of any length will do.
        is_sequence: whether the first axis of a datum is that of its steps, so that a mask can say which are there.
        hole: stands where a datum is missing and reaches no number.
    """

    width: int
    length: int | None
    shape: tuple[int, ...] | None
    is_sequence: bool = True
    hole: float = 0.0

    @abstractmethod
    def forward(self, data: Tensor) -> Float[Tensor, "N T W"]:
        """The steps of N data points, which must conform."""

    @abstractmethod
    def inverse(self, steps: Float[Tensor, "N T W"]) -> Tensor:
        """The data that have these steps; of steps that no datum has, the nearest.

        Raises:
            ValueError: for another number of steps than a datum has.
        """

    @abstractmethod
    def conform(self, name: str, data: Tensor) -> Tensor:
        """Data of modality ``name``, ``[N, ...]``, checked and in the type that :meth:`forward` takes.

        Raises:
            ValueError: for data of another shape, or values that have no steps.
            TypeError: if integers come where real numbers are expected, or the other way round.
        """


class FeatureSteps(Steps):
    """Sequences of feature vectors, float32 ``[N, T, width]``: the steps are the data.

    Args:
        width: of a feature vector.
        length: T, if every sequence has as many steps (those that are not there under a mask).
    """

    def __init__(self, width: int, length: int | None = None) -> None:
        super().__init__()
        self.width, self.length = int(width), None if length is None else int(length)
        self.shape = None if self.length is None else (self.length, self.width)

    def forward(self, data: Tensor) -> Float[Tensor, "N T W"]:
        """The sequences as they are."""
        return data

    def inverse(self, steps: Float[Tensor, "N T W"]) -> Tensor:
        """The steps as they are."""
        return steps

    def conform(self, name: str, data: Tensor) -> Tensor:
        """Real numbers ``[N, T, width]`` as float32."""
        if data.ndim != 3 or data.shape[1] == 0 or data.shape[-1] != self.width:
            raise ValueError(
                f"{name}: expected sequences [N, T, {self.width}], got {tuple(data.shape)}; the axes are rows, steps, "
                f"features."
            )
        return _real(name, "FeatureSteps", data)

    def extra_repr(self) -> str:
        """How it prints."""
        return f"width={self.width}, length={self.length}"


class PatchSteps(Steps):
    """The patches of an image, row by row: ``[N, C, H, W] -> [N, T, C * height * width]``.

    An image whose sides are no multiples of the patch's gets a margin of zeros, as even on both sides as can be (28
    pixels become 32 by two on each side, for patches of eight); on the way back it is cut off.

    Args:
        shape: ``(C, H, W)`` of an image.
        patch: ``(height, width)`` of a patch, or one number for both.

    Attributes:
        grid: how many patches there are below and beside each other.
        padded: ``(C, H, W)`` with the margin.
    """

    length: int
    shape: tuple[int, int, int]
    is_sequence = False

    def __init__(self, shape: Sequence[int], patch: int | Sequence[int]) -> None:
        super().__init__()
        if len(shape) != 3 or any(size < 1 for size in shape):
            raise ValueError(f"PatchSteps: expected the shape (C, H, W) of an image, got {tuple(shape)}.")
        sides = (patch, patch) if isinstance(patch, numbers.Integral) else tuple(patch)  # type: ignore[arg-type]
        if len(sides) != 2 or any(side < 1 for side in sides):
            raise ValueError(f"PatchSteps: patch must be one side or (height, width), at least 1 each, got {patch!r}.")
        channels, *whole = (int(size) for size in shape)
        self.patch = (int(sides[0]), int(sides[1]))
        self.grid = (-(-whole[0] // self.patch[0]), -(-whole[1] // self.patch[1]))
        self.shape = (channels, whole[0], whole[1])
        self.padded = (channels, self.grid[0] * self.patch[0], self.grid[1] * self.patch[1])
        self.width = channels * self.patch[0] * self.patch[1]
        self.length = self.grid[0] * self.grid[1]
        self.arguments["patch"] = self.patch

    def forward(self, data: Tensor) -> Float[Tensor, "N T W"]:
        """The patches, each flattened over channels, height and width."""
        rows, columns = self.grid
        blocks = self.pad(data).reshape(data.shape[0], self.padded[0], rows, self.patch[0], columns, self.patch[1])
        return blocks.permute(0, 2, 4, 1, 3, 5).reshape(data.shape[0], rows * columns, self.width)

    def inverse(self, steps: Float[Tensor, "N T W"]) -> Tensor:
        """The images that have these patches, without the margin."""
        if steps.shape[1] != self.length:
            raise ValueError(
                f"steps: expected the {self.length} patches of an image of {self.shape}, got {steps.shape[1]} steps."
            )
        blocks = steps.reshape(len(steps), *self.grid, self.padded[0], *self.patch)
        image = blocks.permute(0, 3, 1, 4, 2, 5).reshape(len(steps), *self.padded)
        top, left = (self.padded[1] - self.shape[1]) // 2, (self.padded[2] - self.shape[2]) // 2
        return image[:, :, top : top + self.shape[1], left : left + self.shape[2]]

    def pad(self, data: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C P Q"]:
        """The images with their margin of zeros."""
        margins = []
        for side, whole in ((self.shape[2], self.padded[2]), (self.shape[1], self.padded[1])):
            before = (whole - side) // 2
            margins += [before, whole - side - before]
        return functional.pad(data, margins) if any(margins) else data

    def conform(self, name: str, data: Tensor) -> Tensor:
        """Real numbers ``[N, C, H, W]`` as float32."""
        return _real(name, "PatchSteps", data)

    def extra_repr(self) -> str:
        """How it prints."""
        return f"shape={self.shape}, patch={self.patch}"


class CodeSteps(Steps):
    """Sequences of integer codes, ``[N, T]``, as indicators: ``[N, T, num_categories]``.

    Args:
        num_categories: of the codes, which run from 0.
        length: T, if every sequence has as many codes (those that are not there under a mask).
    """

    def __init__(self, num_categories: int, length: int | None = None) -> None:
        super().__init__()
        self.width, self.length = int(num_categories), None if length is None else int(length)
        self.shape = None if self.length is None else (self.length,)

    def forward(self, data: Tensor) -> Float[Tensor, "N T W"]:
        """One at each code's place, zeros elsewhere."""
        categories = torch.arange(self.width, device=data.device)
        return (data.unsqueeze(-1) == categories).to(torch.get_default_dtype())

    def inverse(self, steps: Float[Tensor, "N T W"]) -> Tensor:
        """The code of the largest value of each step, int64."""
        return steps.argmax(-1)

    def conform(self, name: str, data: Tensor) -> Tensor:
        """Integer codes ``[N, T]`` as int64."""
        if data.is_floating_point() or data.is_complex() or data.dtype == torch.bool:
            raise TypeError(
                f"{name}: CodeSteps takes integer codes, got {data.dtype}; convert one-hot data with x.argmax(-1), "
                f"whole numbers with x.long()."
            )
        if data.ndim != 2 or data.shape[1] == 0:
            raise ValueError(f"{name}: expected sequences of codes [N, T], got {tuple(data.shape)}.")
        data = data.long()  # a narrow type may not hold the number it is compared with
        outside = (data < 0) | (data >= self.width)
        if bool(outside.any()):
            raise ValueError(
                f"{name}: CodeSteps({self.width}) takes codes 0 to {self.width - 1}, got {data[outside][0].item()} "
                f"({int(outside.sum())} such values)."
            )
        return data

    def extra_repr(self) -> str:
        """How it prints."""
        return f"num_categories={self.width}, length={self.length}"


def as_steps(name: str, steps: int | Steps) -> Steps:
    """What a model is told of a modality as its steps: a width is that of feature vectors.

    Raises:
        TypeError: for something else.
        ValueError: for a width below one.
    """
    if isinstance(steps, Steps):
        return steps
    if isinstance(steps, numbers.Integral) and not isinstance(steps, bool):
        if steps < 1:
            raise ValueError(f"{name}: a feature vector has a width of at least 1, got {steps}.")
        return FeatureSteps(int(steps))
    raise TypeError(
        f"{name}: expected the width of feature vectors [N, T, width], or the steps of the data, such as "
        f"nn.PatchSteps(shape, patch) or nn.CodeSteps(num_categories), got {steps!r}."
    )


def _real(name: str, kind: str, data: Tensor) -> Tensor:
    if not data.is_floating_point():
        raise TypeError(
            f"{name}: {kind} takes real numbers, got {data.dtype}; convert, for images with x.float() / 255."
        )
    return narrowed(name, data, torch.float32)
