from __future__ import annotations

import torch

from mmvae import Batch
from mmvae.evaluation import evaluate
from mmvae.evaluation.active_units import count_active


def test_units_whose_means_vary_by_more_than_a_hundredth_are_active() -> None:
    steps = torch.tensor([-1.0, 1.0]).repeat(500).unsqueeze(1)  # of variance 1
    means = steps * torch.tensor([0.0, 0.09, 0.11, 1.0]) + 5
    assert count_active(means) == 2


def test_each_subset_is_counted_over_its_own_rows(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(3))
    ends = torch.tensor([-1.0, 1.0]).repeat(10).unsqueeze(1)
    a, b = ends * torch.tensor([1.0, 0.0, 0.0]), ends * torch.tensor([0.0, 1.0, 1.0])
    found = evaluate(model, Batch({"a": a, "b": b}, {"b": torch.arange(20) < 12}), ["active_units"], progress=False)
    assert [found.value("active_units", given) for given in ("a", "b", "a+b")] == [1, 2, 3]
    assert found.select("active_units", "a+b")[0]["n"] == 12
