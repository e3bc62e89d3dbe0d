"""Both tables come out, at the smallest size."""

from __future__ import annotations

import torch
from proxy_cost import Config, epochs, passes, proxies

TINY = Config(encoders=("tiny",), batch_sizes=(2,), repeats=1, rows=64, epoch_encoder="tiny", epochs=1)


def test_both_sides_of_a_forward_pass_are_timed():
    apart, merged = passes("tiny", rows=2, repeats=2, device="cpu")
    assert len(apart.ours) == len(apart.peer) == len(merged.peer) == 2
    assert proxies(TINY).count("\n") == 2


def test_an_epoch_from_features():
    torch.manual_seed(0)
    assert "| tiny | 64 |" in epochs(TINY)
