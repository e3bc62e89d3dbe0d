"""Signals pass networks at the size that they came with, before any training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mmvae import nn as networks
from mmvae.networks.initial_weights import start_at_full_signal

Case = tuple[Callable[[], nn.Module], Callable[[], Tensor]]

ENCODERS: dict[str, Case] = {
    "grey images": (lambda: networks.ConvEncoder((1, 28, 28)), lambda: torch.randn(64, 1, 28, 28)),
    "large images": (lambda: networks.ConvEncoder((3, 64, 64)), lambda: torch.randn(32, 3, 64, 64)),
    "volumes": (lambda: networks.ConvEncoder((1, 16, 16, 16)), lambda: torch.randn(32, 1, 16, 16, 16)),
    "series": (lambda: networks.SeriesConvEncoder((1024, 3)), lambda: torch.randn(32, 1024, 3)),
    "codes": (lambda: networks.CodesEncoder((32,), 10), lambda: torch.randint(0, 10, (64, 32))),
    "mnist": (networks.MNISTEncoder, lambda: torch.randn(64, 1, 28, 28)),
    "svhn": (networks.SVHNEncoder, lambda: torch.randn(64, 3, 32, 32)),
    "text": (networks.TextEncoder, lambda: torch.randint(0, 71, (64, 8))),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_features_of_different_rows_differ(name: str, seed: int) -> None:
    """By at least a fifth; with the weights that PyTorch draws, street digits differ by a hundredth."""
    torch.manual_seed(seed)
    make, rows = ENCODERS[name]
    features = make()(rows())
    assert float(features.std(0).mean()) > 0.2
    assert float(features.square().mean().sqrt()) < 2


@settings(max_examples=30, deadline=None)
@given(kernel=st.integers(1, 5), stride=st.integers(1, 2), depth=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_size_of_a_signal_does_not_depend_on_depth(kernel: int, stride: int, depth: int, seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(*(part for _ in range(depth) for part in (nn.Conv1d(128, 128, kernel, stride), nn.ReLU())))
    start_at_full_signal(network)
    with torch.no_grad():
        output = network(torch.randn(8, 128, (8 + kernel) * 2**depth))
    assert 0.4 < float(output.square().mean().sqrt()) < 2.5
    assert all(bool((part.bias == 0).all()) for part in network if isinstance(part, nn.Conv1d))
