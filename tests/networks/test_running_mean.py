"""The mean of what passed by: of all vectors at first, of the latest batches in the long run."""

from __future__ import annotations

import torch

from mmvae.networks.running_mean import RunningMean


def test_it_is_the_mean_of_all_vectors_whatever_the_batches() -> None:
    running, vectors = RunningMean(3), torch.randn(40, 3)
    for batch in vectors.split([20, 5, 15]):
        running.update(batch)
    torch.testing.assert_close(running.mean, vectors.mean(0))
    before = running.mean.clone()
    running.update(torch.ones(0, 3))
    assert torch.equal(running.mean, before)
    assert running.count == 40


def test_it_looks_at_what_is_valid() -> None:
    running, vectors = RunningMean(2), torch.randn(3, 4, 2)
    valid = torch.tensor([[True, True, True, True], [True, False, False, True], [False, False, False, False]])
    running.update(torch.where(valid.unsqueeze(-1), vectors, torch.nan), valid)
    torch.testing.assert_close(running.mean, vectors[valid].mean(0))
    running.update(torch.ones(2, 4, 2), torch.zeros(2, 4, dtype=torch.bool))
    assert running.count == 6


def test_nothing_is_the_mean_of_nothing() -> None:
    running = RunningMean(2)
    running.update(torch.ones(2, 4, 2), torch.zeros(2, 4, dtype=torch.bool))
    assert not running.mean.any()
    assert running.count == 0


def test_in_the_long_run_a_batch_weighs_a_hundredth() -> None:
    running = RunningMean(2)
    running.mean.fill_(3.0)
    running.count.fill_(1e6)
    running.update(torch.full((4, 2), 13.0))
    torch.testing.assert_close(running.mean, torch.full((2,), 3.1))
