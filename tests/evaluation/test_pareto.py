from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmvae.evaluation.pareto import effective_sample_size, generalised_pareto_shape, pareto_k, pareto_k_threshold


def quantiles(shape: float, count: int) -> torch.Tensor:
    """Evenly spread quantiles of a generalised Pareto distribution of scale 2, ascending."""
    upper = 1 - (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return 2 * ((upper**-shape - 1) / shape if shape else -upper.log())


def slow_shape(x: np.ndarray) -> float:
    """The estimator of Zhang and Stephens, written as their algorithm reads, with the prior of Vehtari et al."""
    n = len(x)
    m = 30 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    thetas = [1 / x[-1] + (1 - math.sqrt(m / (j - 0.5))) / (3 * quartile) for j in range(1, m + 1)]

    def log_profile(theta: float) -> float:
        k = -np.mean(np.log(1 - theta * x))
        return n * (math.log(theta / k) + k - 1)

    profiles = [log_profile(theta) for theta in thetas]
    weights = [1 / sum(math.exp(other - mine) for other in profiles) for mine in profiles]
    theta = sum(w * t for w, t in zip(weights, thetas, strict=True))
    return (n * float(np.mean(np.log(1 - theta * x))) + 5) / (n + 10)


def slow_k(log_weights: np.ndarray) -> float:
    """Pareto k of one column as arviz computes it: weights are exponentiated, and those below the range are cut off."""
    x = np.sort(log_weights - log_weights.max())
    n = len(x)
    cutoff = max(x[-math.ceil(min(n / 5, 3 * math.sqrt(n))) - 1], np.log(np.finfo(float).tiny))
    tail = x[x > cutoff]
    return math.inf if len(tail) <= 4 else slow_shape(np.exp(tail) - np.exp(cutoff))


@pytest.mark.parametrize("draws", [30, 1000])
@pytest.mark.parametrize("spread", [1e-2, 1.0, 10.0, 100.0, 150.0])
def test_k_of_weights_of_any_spread_is_that_of_the_algorithm_written_as_loops(draws: int, spread: float) -> None:
    weights = spread * torch.randn(draws, 6, generator=torch.Generator().manual_seed(draws)).double()
    expected = [slow_k(column) for column in weights.numpy().T]
    assert pareto_k(weights).tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("spread", [30.0, 1e3, 1e6, 1e100])
@pytest.mark.parametrize("draws", [21, 200, 5000])
def test_weights_that_one_draw_dominates_are_never_called_reliable(draws: int, spread: float) -> None:
    weights = spread * torch.randn(draws, 20, generator=torch.Generator().manual_seed(1)).double()
    assert bool((pareto_k(weights) > 1).all())
    assert bool((effective_sample_size(weights) < 3).all())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_columns_that_are_not_finite_are_worth_nothing(bad: float) -> None:
    weights = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    sound = pareto_k(weights), effective_sample_size(weights)
    weights[0 if bad != -math.inf else slice(None), 1] = bad  # one weight of zero is a weight like others
    for measure, before, worst in zip((pareto_k, effective_sample_size), sound, (math.inf, 0), strict=True):
        found = measure(weights)
        assert found[1] == worst
        assert torch.equal(found[[0, 2]], before[[0, 2]])


def test_weights_of_zero_count_as_draws() -> None:
    weights = torch.randn(100, 1, generator=torch.Generator().manual_seed(0)).double()
    weights[:40] = -math.inf
    assert float(pareto_k(weights)) == pytest.approx(slow_k(weights[:, 0].numpy()), rel=1e-10)
    weights[3:] = -math.inf
    weights[:3] = 0.0
    assert float(effective_sample_size(weights)) == pytest.approx(3)
    assert float(pareto_k(weights)) == math.inf


@pytest.mark.parametrize("shape", [-0.4, 0.0, 0.3, 0.7, 1.2])
def test_shape_of_an_exact_generalised_pareto_is_found(shape: float) -> None:
    found = generalised_pareto_shape(quantiles(shape, 5000).unsqueeze(1))
    assert float(found) == pytest.approx(shape, abs=0.02)


def test_shape_agrees_with_the_algorithm_written_as_loops() -> None:
    draws = torch.distributions.Exponential(1.0).sample((40, 3)).double().sort(0).values ** torch.tensor(
        [0.5, 1.0, 2.0]
    )
    expected = [slow_shape(column) for column in draws.numpy().T]
    assert generalised_pareto_shape(draws).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.1])
def test_tail_of_pareto_weights_is_recognised(shape: float) -> None:
    upper = 1 - (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    weights = -shape * upper.log()  # w = u^-k has a tail of shape k
    assert float(pareto_k(weights[torch.randperm(100_000)].unsqueeze(1))) == pytest.approx(shape, abs=0.05)


def test_constants_and_order_change_nothing() -> None:
    weights = torch.randn(400, 5).double() * 2
    for measure in (pareto_k, effective_sample_size):
        torch.testing.assert_close(measure(weights[torch.randperm(400)] - 5000), measure(weights), rtol=1e-5, atol=1e-5)


def test_equal_weights_are_worth_their_number_and_have_no_tail() -> None:
    weights = torch.full((200, 2), -1234.5)
    assert effective_sample_size(weights).tolist() == pytest.approx([200, 200])
    assert pareto_k(weights).tolist() == [0, 0]
    nudged = weights + 1e-4 * torch.randn(200, 2)  # rounding of float32 at this size
    assert pareto_k(nudged).tolist() == [0, 0]


def test_effective_sample_size_by_its_definition() -> None:
    weights = torch.tensor([[1.0, 1.0], [2.0, 1e-9], [3.0, 1e-9]])
    assert effective_sample_size(weights.log()).tolist() == pytest.approx([36 / 14, 1.0])


def test_weights_that_tie_with_the_cutoff_are_no_part_of_the_tail() -> None:
    weights = torch.zeros(100, 2).double()
    weights[:9, 0] = torch.linspace(0.5, 4.5, 9)
    weights[:3, 1] = torch.tensor([1.0, 2.0, 3.0])  # too few for a fit
    assert pareto_k(weights).tolist() == pytest.approx([slow_k(weights[:, 0].numpy()), math.inf], rel=1e-10)


def test_too_few_draws_have_no_tail() -> None:
    assert bool(pareto_k(torch.randn(20, 3)).isnan().all())
    assert bool(pareto_k(torch.randn(21, 3)).isfinite().all())


def test_threshold_grows_with_the_draws_up_to_seven_tenths() -> None:
    assert pareto_k_threshold(100) == pytest.approx(0.5)
    assert pareto_k_threshold(10**6) == 0.7
