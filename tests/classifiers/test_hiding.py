"""How many tokens are hidden, and that all are as likely."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmvae.classifiers.masked_reconstruction import Places, hide


def as_mask(places: Places, valid: Tensor) -> Tensor:
    """Bool ``[N, n]``; no place is there twice."""
    counted = torch.zeros(valid.shape, dtype=torch.int64)
    counts = torch.ones_like(places.index) if places.valid is None else places.valid.long()
    counted.scatter_add_(1, places.index, counts)
    assert counted.max() <= 1
    return counted == 1


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9, 0.99])
def test_the_share_of_valid_tokens_that_is_hidden(ratio: float) -> None:
    """The others show, at any length; as many places as a full row has."""
    valid = torch.arange(10) < torch.tensor([10, 7, 4, 2, 1, 0])[:, None]
    hidden, showing = hide(torch.zeros(6, 10, 2), valid, ratio)
    expected = {0.1: [1, 1, 1, 1, 1, 0], 0.5: [5, 4, 2, 1, 1, 0], 0.9: [9, 6, 4, 2, 1, 0], 0.99: [10, 7, 4, 2, 1, 0]}
    mask = as_mask(hidden, valid)
    assert mask.sum(1).tolist() == expected[ratio]
    assert torch.equal(as_mask(showing, valid), valid & ~mask)
    assert (hidden.index.shape[1], showing.index.shape[1]) == (expected[ratio][0], 10 - expected[ratio][0])


@pytest.mark.parametrize("ratio", [0.05, 0.37, 0.5, 0.81, 0.96])
@pytest.mark.parametrize("length", [1, 2, 3, 15, 40])
def test_no_row_has_more_of_either_than_a_full_one(ratio: float, length: int) -> None:
    valid = torch.arange(length) < torch.arange(length + 1)[:, None]
    hidden, showing = hide(valid, valid, ratio)
    assert torch.equal(as_mask(hidden, valid) | as_mask(showing, valid), valid)


def test_a_mask_of_everything_is_no_mask() -> None:
    tokens = torch.zeros(5, 7)
    torch.manual_seed(1)
    masked = hide(tokens, torch.ones(5, 7, dtype=torch.bool), 0.4)
    torch.manual_seed(1)
    for one, other in zip(hide(tokens, None, 0.4), masked, strict=True):
        assert torch.equal(one.index, other.index)
        assert one.valid is one.behind_class_token is None
        assert other.valid is not None
        assert other.valid.all()


def test_what_stands_there() -> None:
    values = torch.randn(2, 4, 3)
    places = Places(torch.tensor([[3, 0], [1, 1]]), torch.tensor([[True, True], [True, False]]))
    torch.testing.assert_close(places.of(values), torch.stack([values[0, [3, 0]], values[1, [1, 1]]]))
    assert places.of(values[..., 0]).shape == (2, 2)
    assert places.behind_class_token is not None
    assert places.behind_class_token.tolist() == [[True, True, True], [True, True, False]]


def test_every_token_is_hidden_as_often_as_another() -> None:
    """To within five standard errors."""
    hidden, _ = hide(torch.zeros(4000, 8), None, 0.25)
    shares = hidden.index.flatten().bincount() / 4000
    assert (shares - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5
