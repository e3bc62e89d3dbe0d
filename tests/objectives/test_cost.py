"""What a training step costs: how often each network runs, as the page on choosing a model says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from objectives.parts import make
from torch import nn

ROWS = 6

COSTS: dict[str, tuple[str, dict[str, Any], int, int]] = {  # passes of each encoder, passes of each decoder
    "MoPoE": ("MoPoE", {}, 1, 1),
    "MVTCAE": ("MVTCAE", {}, 1, 1),
    "JMVAE": ("JMVAE", {"trunk_width": 4, "hidden": 8}, 2, 1),
    "MVAE": ("MVAE", {}, 1, 2),
    "MMVAE, K = 4": ("MMVAE", {"num_samples": 4}, 1, 12),
    "WeightedMVAE": ("WeightedMVAE", {}, 1, 1),
    "HELVAE": ("HELVAE", {}, 1, 1),
    "MMJSD": ("MMJSD", {}, 1, 1),
    "MMVM": ("MMVM", {}, 1, 1),
    "CVAE": ("CVAE", {}, 1, 1),
    "DVCCA": ("DVCCA", {}, 1, 1),
    "CRMVAE": ("CRMVAE", {}, 1, 2),
    "SetVAE": ("SetVAE", {"hidden": 4, "pooled": 4}, 1, 2),
    "JNF": ("JNF", {"trunk_width": 4, "hidden": 8, "flow_hidden": 4}, 2, 1),
    "TELBO": ("TELBO", {"trunk_width": 4, "hidden": 8}, 2, 2),
    "MCVAE": ("MCVAE", {}, 1, 3),
    "MMVAEPlus": ("MMVAEPlus", {"private_dim": 1}, 1, 3),
    "MMVAEPlus, contrast": ("MMVAEPlus", {"private_dim": 1, "contrast": 1.0}, 1, 3),
    "CMVAE": ("CMVAE", {"private_dim": 1, "num_clusters": 3}, 1, 3),
    "DMVAE": ("DMVAE", {"private_dim": 1}, 1, 4),
    "HoelderVAE": ("HoelderVAE", {}, 1, 6),
    "CoDEVAE": ("CoDEVAE", {}, 1, 7),
    "MMVAE, K = 4, plain gradient": ("MMVAE", {"num_samples": 4, "objective": "iwae"}, 1, 12),
}


def count_rows(network: nn.Module, name: str, rows: Counter[str]) -> None:
    network.register_forward_pre_hook(lambda _, given: rows.update({name: len(given[0])}))


@pytest.mark.parametrize("case", list(COSTS))
def test_passes_of_each_network_in_a_step(case: str) -> None:
    """In rows: the subsets, components and samples of a step pass a network in few large batches."""
    kind, arguments, encoded, decoded = COSTS[case]
    model, data = make(kind, **arguments)
    encoders, decoders = Counter[str](), Counter[str]()
    for name in model.names:
        count_rows(model.experts.encoders[name], name, encoders)
        count_rows(model.decoders[name], name, decoders)
        if kind in ("JMVAE", "TELBO", "JNF"):
            count_rows(model.joint_posterior.trunks[name], name, encoders)
    model.loss(data).total.backward()
    assert encoders == dict.fromkeys(model.names, encoded * ROWS)
    assert decoders == dict.fromkeys(model.names, decoded * ROWS)


def test_random_subsets_pass_the_decoders_of_their_members_alone() -> None:
    """Each of k subsets has (M + 1) / 2 members on average: two of three modalities here."""
    model, data = make("MVAE", num_random_subsets=5)
    rows = Counter[str]()
    for name in model.names:
        count_rows(model.decoders[name], name, rows)
    torch.manual_seed(0)
    model.loss(data)
    assert rows.total() == (2 * 3 + 5 * 2) * ROWS
