"""Training and evaluation mode, for a while."""

from __future__ import annotations

import torch

from mmvae.nn.mode import mode


def test_each_part_gets_its_mode_back() -> None:
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    network[0].eval()
    with mode(network, training=False):
        assert not network[1].training
    assert [part.training for part in network.modules()] == [True, False, True]
