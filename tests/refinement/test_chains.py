"""Diagnostics of chains at the extremes that they exist for."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from mmvae.refinement.chains import effective_draws, rank_r_hat


def independent(chains: int = 4, draws: int = 200, dims: int = 3) -> torch.Tensor:
    return torch.randn(chains, draws, dims, generator=torch.Generator().manual_seed(0))


def test_independent_draws_agree_and_are_worth_their_number() -> None:
    assert (rank_r_hat(independent()) - 1).abs().max() < 0.02
    assert (effective_draws(independent()) / 800 - 1).abs().max() < 0.4


def test_r_hat_by_its_definition() -> None:
    draws = independent(dims=1)[..., 0].double()
    draws[1] += 0.3

    def plain(values: torch.Tensor) -> float:
        scores = stats.norm.ppf((stats.rankdata(values.numpy()) - 0.375) / (values.numel() + 0.25))
        halves = torch.as_tensor(scores).reshape(values.shape).unflatten(1, (2, -1)).flatten(0, 1)
        length = halves.shape[1]
        within, between = halves.var(1).mean(), halves.mean(1).var()
        return float((((length - 1) / length * within + between) / within).sqrt())

    expected = max(plain(draws), plain((draws - draws.flatten().median()).abs()))
    assert float(rank_r_hat(draws.unsqueeze(-1))) == pytest.approx(expected, rel=1e-6)


def test_chains_in_different_places_are_noticed() -> None:
    draws = independent()
    draws[2:, :, 1] += 8
    assert rank_r_hat(draws)[1] > 1.5
    assert rank_r_hat(draws)[[0, 2]].max() < 1.05
    assert effective_draws(draws)[1] < 20


def test_chains_of_different_widths_are_noticed() -> None:
    draws = independent()
    draws[0] *= 0.01
    assert (rank_r_hat(draws) > 1.2).all()


def test_heavy_tails_do_not_hide_chains_in_different_places() -> None:
    draws = torch.tan(math.pi * (torch.rand(4, 200, 1, generator=torch.Generator().manual_seed(1)) - 0.5))
    draws[0] += 20
    assert float(rank_r_hat(draws)) > 1.2


@pytest.mark.parametrize("apart", [0.0, 3.0])
def test_chains_that_do_not_move_are_worth_nothing(apart: float) -> None:
    draws = (apart * torch.arange(4.0))[:, None, None].expand(4, 50, 2)
    assert (rank_r_hat(draws) == math.inf).all()
    assert (effective_draws(draws) == 0).all()
    some = independent()
    some[1] = some[1, :1]
    assert (rank_r_hat(some) > 1.1).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_draws_that_are_not_finite_are_noticed(bad: float) -> None:
    draws = independent()
    draws[3, 7, 0] = bad
    assert rank_r_hat(draws)[0] == math.inf
    assert rank_r_hat(draws)[1:].max() < 1.05
    assert effective_draws(draws)[0] == 0
