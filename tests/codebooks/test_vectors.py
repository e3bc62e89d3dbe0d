"""Means, errors and masks over vectors of which some are not there, against loops."""

from __future__ import annotations

import pytest
import torch

from mmvae.codebooks.vectors import averaged, both_valid, filled, mean_square

A = torch.tensor([[True, False], [True, True], [False, False]])
B = torch.tensor([[True, True], [False, False], [False, True]])


def test_mean_over_what_is_there() -> None:
    one, other = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    found, valid = averaged({"a": one, "b": other}, {"a": A, "b": B})
    assert valid is not None
    for row in range(3):
        for step in range(2):
            there = [x[row, step] for x, mask in ((one, A), (other, B)) if mask[row, step]]
            assert bool(valid[row, step]) == bool(there)
            torch.testing.assert_close(found[row, step], sum(there, start=torch.zeros(4)) / max(1, len(there)))
    everywhere = averaged({"a": one, "b": other}, {"a": None, "b": None})
    torch.testing.assert_close(everywhere[0], (one + other) / 2)
    assert everywhere[1] is None
    half, mask = averaged({"a": one[:, 0], "b": other[:, 0]}, {"a": None, "b": B[:, 0]})
    assert mask is not None
    assert mask.all()
    torch.testing.assert_close(half[1], one[1, 0])
    assert averaged({"a": one}, {"a": A}) == (one, A)


def test_steps_that_differ_have_no_mean() -> None:
    with pytest.raises(ValueError, match=r"their steps differ: \{'a': 2, 'b': 3\}; infer from one"):
        averaged({"a": torch.ones(1, 2, 4), "b": torch.ones(1, 3, 4)}, {"a": None, "b": None})


def test_mean_square_is_over_the_elements_of_valid_vectors() -> None:
    output, target = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    torch.testing.assert_close(mean_square(output, target), torch.nn.functional.mse_loss(output, target))
    expected = torch.nn.functional.mse_loss(output[A], target[A])
    torch.testing.assert_close(mean_square(output, target, A), expected)
    assert mean_square(output, target, torch.zeros_like(A)) == 0


def test_missing_modalities_are_filled_in_the_order_of_the_alphabet() -> None:
    features = {"c": torch.randn(3, 2, 4), "a": torch.randn(3, 2, 4)}
    vectors, masks = filled(features, {"c": None, "a": A}, ("c", "b", "a"))
    assert masks is not None
    assert list(vectors) == list(masks) == ["a", "b", "c"]
    assert masks["a"] is A
    assert masks["c"].all()
    assert not masks["b"].any()
    assert not vectors["b"].any()
    assert vectors["c"] is features["c"]
    assert filled(features, {"c": None, "a": None}, ("c", "a"))[1] is None


def test_both_valid() -> None:
    assert both_valid(None, None) is None
    assert both_valid(A, None) is A
    assert both_valid(None, A) is A
    joint = both_valid(A, B)
    assert joint is not None
    assert torch.equal(joint, A & B)
