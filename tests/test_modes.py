"""Training and evaluation mode, for a while."""

from __future__ import annotations

import torch

from mmvae.modes import mode


def test_each_part_gets_its_mode_back() -> None:
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    network[0].eval()
    with mode(network, training=False):
        assert not network[1].training
    assert [part.training for part in network.modules()] == [True, False, True]


def test_what_is_changed_within_is_put_back() -> None:
    network = torch.nn.Sequential(torch.nn.Dropout()).eval()
    with mode(network, training=False):
        network[0].train()
    assert not network[0].training
