"""Frozen means frozen."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmvae.nn import Frozen, ViT, encoder_facts, wrap_encoder


class Normalising(nn.Module):
    """An encoder with running statistics and dropout: ``[N, 5, 3]`` to a class token and five tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(5), nn.Dropout(0.5))

    def forward(self, data: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.layers(data)
        return tokens.mean(1), tokens


def test_nothing_of_it_changes_in_training() -> None:
    frozen = Frozen(wrap_encoder(Normalising(), shape=(5, 3)))
    head = nn.Linear(6, 2)
    model = nn.ModuleList([frozen, head])
    before = copy.deepcopy(frozen.state_dict())
    data = torch.randn(8, 5, 3) + 3
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.1)
    for _ in range(2):
        model.train()
        assert head.training
        assert not any(part.training for part in frozen.modules())
        head(frozen(data).cls).square().sum().backward()
        optimiser.step()
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    assert torch.equal(frozen(data).cls, frozen(data).cls)  # no dropout


def test_the_encoder_that_was_given_goes_its_own_way() -> None:
    encoder = ViT((1, 4, 4), patch=2, dim=8, heads=2).train()
    frozen = Frozen(encoder)
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    images = torch.rand(2, 1, 4, 4)
    before = frozen(images).cls
    with torch.no_grad():
        encoder.embedding.class_token.normal_()
    assert torch.equal(frozen(images).cls, before)
    assert not torch.allclose(encoder(images).cls, before)


def test_no_graph_unless_something_learns_in_it() -> None:
    frozen = Frozen(ViT((1, 4, 4), patch=2, dim=8, heads=2))
    images = torch.rand(2, 1, 4, 4)
    assert frozen(images).cls.grad_fn is None
    extra = torch.randn(1, 8, requires_grad=True)
    assert frozen(images, None, extra).cls.grad_fn is not None


def test_it_is_an_encoder_like_the_one_inside(case: Any) -> None:
    frozen = Frozen(case.encoder)
    extra = torch.randn(1, case.encoder.dim)
    inside, outside = case.encoder(case.inputs, None, extra), frozen(case.inputs, None, extra)
    torch.testing.assert_close(outside.cls, inside.cls)
    torch.testing.assert_close(outside.extra, inside.extra)
    for attribute in ("dim", "depth", "shape", "dtype", "offers_hidden", "takes_extra", "name"):
        assert getattr(frozen, attribute) == getattr(case.encoder, attribute)


def test_a_bare_module_is_wrapped_on_the_way() -> None:
    with pytest.raises(ValueError, match=r"Normalising: expected the shape of one datum"):
        Frozen(Normalising())


def test_frozen_twice_is_frozen_once() -> None:
    once = Frozen(ViT((1, 4, 4), patch=2, dim=8, heads=2))
    twice = Frozen(once)
    assert type(twice.encoder) is ViT
    assert twice.encoder is not once.encoder
    assert encoder_facts(twice) == encoder_facts(once)


def test_its_arguments_hold_the_copy() -> None:
    frozen = Frozen(ViT((1, 4, 4), patch=2, dim=8, heads=2))
    assert frozen.arguments == {"encoder": frozen.encoder}
    assert copy.deepcopy(frozen).arguments["encoder"] is not frozen.encoder
