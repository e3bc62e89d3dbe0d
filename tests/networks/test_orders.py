"""Orders of what is there, against plain Python."""

from __future__ import annotations

import itertools

import torch

from mmvae.networks.masked import in_random_order, in_turn

THERE = torch.tensor([[True, False, True, True], [False, True, False, False], [False] * 4, [True] * 4])


def test_in_turn() -> None:
    assert in_turn(THERE).tolist() == [[0, 2, 3, 1], [1, 0, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_what_is_not_there_comes_last() -> None:
    for _ in range(20):
        order = in_random_order(THERE)
        assert sorted(order[0, :3].tolist()) == [0, 2, 3]
        assert order[0, 3] == 1
        assert order[1].tolist() == [1, 0, 2, 3]
        assert order[2].tolist() == [0, 1, 2, 3]
        assert sorted(order[3].tolist()) == [0, 1, 2, 3]


def test_all_orders_are_as_likely() -> None:
    """To within five standard errors."""
    orders = in_random_order(THERE[:1].expand(6000, 4))[:, :3].tolist()
    for each in itertools.permutations([0, 2, 3]):
        share = sum(order == list(each) for order in orders) / 6000
        assert abs(share - 1 / 6) < 5 * (1 / 6 * 5 / 6 / 6000) ** 0.5
