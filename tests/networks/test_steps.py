"""A datum is its steps and comes back from them; data that has none is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from mmvae.networks.steps import as_steps
from mmvae.nn import CodeSteps, FeatureSteps, PatchSteps, Steps


def patches_by_hand(image: Tensor, height: int, width: int) -> list[Tensor]:
    """The patches of one image without a margin, row by row."""
    _, rows, columns = image.shape
    return [
        image[:, top : top + height, left : left + width].flatten()
        for top in range(0, rows, height)
        for left in range(0, columns, width)
    ]


def test_patches_stand_row_by_row() -> None:
    images = torch.rand(3, 2, 6, 8)
    steps = PatchSteps((2, 6, 8), (3, 4))
    found = steps(images)
    assert (steps.grid, steps.length, steps.width) == ((2, 2), 4, 24)
    for image, patches in zip(images, found, strict=True):
        assert torch.equal(patches, torch.stack(patches_by_hand(image, 3, 4)))
    assert torch.equal(steps.inverse(found), images)


def test_an_image_gets_a_margin_and_loses_it() -> None:
    """MNIST's 28 pixels become 32, two more on each side."""
    images = torch.rand(2, 1, 28, 28)
    steps = PatchSteps((1, 28, 28), (8, 16))
    framed = torch.zeros(2, 1, 32, 32)
    framed[..., 2:30, 2:30] = images
    assert torch.equal(steps.pad(images), framed)
    assert torch.equal(steps(images), PatchSteps((1, 32, 32), (8, 16))(framed))
    assert (steps.length, steps.width) == (8, 128)
    assert torch.equal(steps.inverse(steps(images)), images)


@pytest.mark.parametrize(("shape", "patch"), [((1, 5, 7), 3), ((3, 4, 4), 4), ((2, 3, 9), (2, 5)), ((1, 1, 1), 2)])
def test_any_image_comes_back(shape: tuple[int, ...], patch: Any) -> None:
    images = torch.rand(2, *shape)
    steps = PatchSteps(shape, patch)
    assert steps(images).shape == (2, steps.length, steps.width)
    assert torch.equal(steps.inverse(steps(images)), images)


def test_features_are_steps() -> None:
    data = torch.randn(2, 5, 3)
    assert torch.equal(FeatureSteps(3)(data), data)
    assert torch.equal(FeatureSteps(3).inverse(data), data)
    assert FeatureSteps(3).shape is None
    assert FeatureSteps(3, length=5).shape == (5, 3)


def test_codes_are_indicators() -> None:
    codes = torch.tensor([[0, 2], [1, 1]])
    steps = CodeSteps(3)
    assert steps(codes).tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0]]]
    assert torch.equal(steps.inverse(steps(codes) + 0.3 * torch.rand(2, 2, 3)), codes)
    assert (CodeSteps(3, length=2).shape, CodeSteps(3).shape) == ((2,), None)


def test_data_gets_the_type_of_its_steps() -> None:
    assert FeatureSteps(3).conform("a", torch.rand(1, 2, 3, dtype=torch.float64)).dtype == torch.float32
    assert PatchSteps((1, 2, 2), 1).conform("a", torch.rand(1, 1, 2, 2).half()).dtype == torch.float32
    assert CodeSteps(3).conform("a", torch.zeros(1, 2, dtype=torch.uint8)).dtype == torch.int64


@pytest.mark.parametrize(
    ("steps", "data", "message"),
    [
        (FeatureSteps(3), torch.rand(2, 4), "voice: expected sequences [N, T, 3], got (2, 4)"),
        (FeatureSteps(3), torch.rand(2, 4, 5), "voice: expected sequences [N, T, 3], got (2, 4, 5)"),
        (FeatureSteps(3), torch.rand(2, 0, 3), "voice: expected sequences"),
        (FeatureSteps(3), torch.ones(2, 4, 3).long(), "voice: FeatureSteps takes real numbers, got torch.int64"),
        (PatchSteps((1, 2, 2), 1), torch.ones(2, 1, 2, 2).byte(), "x.float() / 255"),
        (CodeSteps(3), torch.rand(2, 4), "voice: CodeSteps takes integer codes, got torch.float32"),
        (CodeSteps(3), torch.ones(2, 4).bool(), "voice: CodeSteps takes integer codes"),
        (CodeSteps(3), torch.ones(2, 4, 3).long(), "voice: expected sequences of codes [N, T], got (2, 4, 3)"),
        (CodeSteps(3), torch.tensor([[0, 3]]), "voice: CodeSteps(3) takes codes 0 to 2, got 3 (1 such"),
        (CodeSteps(3), torch.tensor([[-1, 0]]), "codes 0 to 2, got -1"),
    ],
)
def test_data_without_steps_is_refused(steps: Steps, data: Tensor, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        steps.conform("voice", data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureSteps(0), "width: expected at least 1, got 0"),
        (lambda: FeatureSteps(3, length=0), "length: expected at least 1, got 0"),
        (lambda: PatchSteps((28, 28), 4), "shape (C, H, W) of an image, got (28, 28)"),
        (lambda: PatchSteps((1, 28, 28), 0), "patch: expected at least 1, got 0"),
        (lambda: PatchSteps((1, 28, 28), (4, 4, 4)), "patch must be"),
        (lambda: CodeSteps(1), "num_categories: expected at least 2, got 1"),
        (lambda: PatchSteps((1, 4, 4), 2).inverse(torch.rand(1, 3, 4)), "expected the 4 patches"),
        (lambda: as_steps("voice", 0), "voice: a feature vector has a width of at least 1, got 0"),
    ],
)
def test_steps_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_width_stands_for_features() -> None:
    assert as_steps("voice", 3).width == 3
    steps = CodeSteps(4)
    assert as_steps("voice", steps) is steps
    for wrong in ("3", 3.0, True):
        with pytest.raises(TypeError, match="voice: expected the width"):
            as_steps("voice", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [FeatureSteps(3, 2), PatchSteps([1, 28, 28], 7), CodeSteps(5)])
def test_steps_are_built_again_from_their_arguments(steps: Steps) -> None:
    again = type(steps)(**steps.arguments)
    assert again.arguments == steps.arguments
    assert (again.width, again.length, again.shape) == (steps.width, steps.length, steps.shape)
    assert not list(steps.parameters())
