from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from mmvae.batch import Batch
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
