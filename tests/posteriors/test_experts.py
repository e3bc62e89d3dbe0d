from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from mmvae.batch import Batch
from mmvae.layout import Layout
from mmvae.nn import LaplaceHead, NormalHead
from mmvae.posteriors import UnimodalExperts


class Counted(nn.Linear):
    calls = 0

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        Counted.calls += 1
        return super().forward(data)


@pytest.mark.parametrize(("family", "head"), [(dist.Normal, NormalHead), (dist.Laplace, LaplaceHead)])
def test_each_encoder_of_the_batch_runs_once(family: type, head: type) -> None:
    encoders = {name: Counted(3, 4) for name in "abc"}
    experts = UnimodalExperts(encoders, dict.fromkeys("abc", 4), 2, family)
    assert all(isinstance(each, head) for each in experts.heads.values())
    Counted.calls = 0
    found = experts(Batch({"c": torch.randn(5, 3), "a": torch.randn(5, 3)}))
    assert Counted.calls == 2
    assert found.names == ("c", "a")
    assert found.loc.shape == found.scale.shape == (2, 5, 2)
    assert found.observed is None
    assert (found.weights == 1).all()


def test_weights_are_zero_where_nothing_was_seen() -> None:
    experts = UnimodalExperts({"a": nn.Linear(3, 4), "b": nn.Linear(3, 4)}, {"a": 4, "b": 4}, 2)
    observed = torch.tensor([True, False, True])
    found = experts(Batch({"a": torch.randn(3, 3), "b": torch.randn(3, 3)}, {"b": observed}))
    assert torch.equal(found.weights, torch.stack([torch.ones(3), observed.float()]))
    assert torch.equal(found.count, torch.tensor([2.0, 1.0, 2.0]))
    values = torch.randn(2, 3)
    torch.testing.assert_close(found.sum_over(values), values[0] + torch.where(observed, values[1], 0.0))


def test_all_experts_count_where_everything_was_seen() -> None:
    experts = UnimodalExperts({"a": nn.Linear(3, 4), "b": nn.Linear(3, 4)}, {"a": 4, "b": 4}, 2)
    found, values = experts(Batch({"a": torch.randn(3, 3), "b": torch.randn(3, 3)})), torch.randn(2, 3)
    assert found.count == 2
    torch.testing.assert_close(found.sum_over(values), values.sum(0))


@pytest.mark.parametrize("family", [dist.Normal, dist.Laplace])
@pytest.mark.parametrize("layout", [Layout(2), Layout(2, {"a": 1, "b": 3})])
def test_experts_are_what_their_heads_say(family: type, layout: Layout) -> None:
    """Values and gradients; silent columns are standard."""
    experts = UnimodalExperts({"a": nn.Linear(3, 4), "b": nn.Linear(3, 5)}, {"a": 4, "b": 5}, layout, family)
    batch = Batch({"a": torch.randn(6, 3), "b": torch.randn(6, 3)})
    found, features = experts(batch), experts.features(batch)
    pairs = {name: experts.heads[name](features[name]) for name in "ab"}
    for place, elsewhere in ((0, 0.0), (1, 1.0)):
        stacked = (found.loc, found.scale)[place]
        expected = torch.stack([layout.place(pairs[name][place], name, elsewhere) for name in "ab"])
        torch.testing.assert_close(stacked, expected)
        weights = list(experts.parameters())
        gradients = [
            torch.autograd.grad(each.square().sum(), weights, retain_graph=True) for each in (stacked, expected)
        ]
        torch.testing.assert_close(*gradients)
