"""CLUB against closed forms, loops and gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from mmvae.codebooks import club as module
from mmvae.nn import CLUB


def linear(weight: float, bias: float) -> nn.Linear:
    made = nn.Linear(1, 1)
    nn.init.constant_(made.weight, weight)
    nn.init.constant_(made.bias, bias)
    return made


def correlated(correlation: float, rows: int) -> tuple[Tensor, Tensor]:
    """Standard Normals."""
    x = torch.randn(rows, 1)
    return x, correlation * x + math.sqrt(1 - correlation**2) * torch.randn(rows, 1)


def sequences(rows: int = 5, steps: int = 3) -> tuple[CLUB, Tensor, Tensor]:
    return CLUB(4, 2, hidden=8), torch.randn(rows, steps, 4), torch.randn(rows, steps, 2)


@pytest.mark.parametrize("negatives", ["shuffled", "all", "paper"])
@pytest.mark.parametrize("correlation", [0.0, 0.4, -0.7])
def test_bound_with_the_true_conditional(negatives, correlation) -> None:  # type: ignore[no-untyped-def]
    """y | x is N(ρ x, 1 - ρ²), so the bound is (E(ρ x - y')² - E(ρ x - y)²) / 2 (1 - ρ²) = ρ² / (1 - ρ²).

    The mutual information, -log(1 - ρ²) / 2, is below it.
    """
    club = CLUB(1, 1)
    club.mean = linear(correlation, 0.0)
    club.log_variance = nn.Sequential(linear(0.0, math.log(1 - correlation**2)))
    found = float(club.bound(*correlated(correlation, 40_000), negatives=negatives))
    expected = correlation**2 / (1 - correlation**2)
    assert found == pytest.approx(expected, abs=0.05)  # some five standard errors
    if correlation:
        assert found > -0.5 * math.log(1 - correlation**2)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_bound_after_fitting(correlation: float) -> None:
    club, (x, y) = CLUB(1, 1, hidden=16), correlated(correlation, 2000)
    adam = torch.optim.Adam(club.parameters(), lr=0.01)
    for _ in range(150):
        adam.zero_grad()
        (-club.log_likelihood(x, y)).backward()
        adam.step()
    expected = correlation**2 / (1 - correlation**2)
    assert float(club.bound(x, y, negatives="all")) == pytest.approx(expected, abs=0.1)


def information(scale: float, shift: float) -> float:
    """The estimate for eight pairs of correlation 0.75, after fitting to targets of a scale.

    The true information is -8 log(1 - 0.75²) / 2 = 3.3 nats, and the bound with the true conditional 10.3.
    """
    torch.manual_seed(0)
    x, noise = torch.randn(2000, 8), torch.randn(2000, 8)
    y = scale * (0.75 * x + math.sqrt(1 - 0.75**2) * noise) + shift
    club = CLUB(8, 8, hidden=64)
    adam = torch.optim.Adam(club.parameters(), lr=5e-3)
    for _ in range(50):
        adam.zero_grad()
        (-club.log_likelihood(scale * x, y)).backward()
        adam.step()
    return float(club.bound(scale * x, y, negatives="all").detach())


@pytest.mark.parametrize(("scale", "shift"), [(1e-3, 0.0), (0.1, 5.0), (1.0, 0.0), (100.0, -300.0)])
def test_information_is_seen_whatever_the_scale(scale: float, shift: float) -> None:
    assert information(scale, shift) == pytest.approx(10.3, abs=1.5)


def test_nothing_is_gained_by_scaling() -> None:
    """Gradients have no part along the scale or the mean of either side."""
    club, x, y = sequences(rows=20)
    club.double()
    sides = x.double().requires_grad_(), y.double().requires_grad_()
    gradients = torch.autograd.grad(club.bound(*sides, negatives="all"), sides)
    for side, gradient in zip(sides, gradients, strict=True):
        assert float(gradient.abs().max()) > 1e-6
        torch.testing.assert_close(
            (gradient * side).sum((0, 1)), torch.zeros(side.shape[-1]).double(), atol=1e-12, rtol=0
        )
        torch.testing.assert_close(gradient.sum((0, 1)), torch.zeros(side.shape[-1]).double(), atol=1e-12, rtol=0)


def test_dimensions_that_do_not_vary_say_nothing() -> None:
    club, x, y = sequences()
    y[..., 0], x[..., 1] = 7.0, -3.0
    sides = x.requires_grad_(), y.requires_grad_()
    gradients = torch.autograd.grad(club.bound(*sides) - club.log_likelihood(*sides), sides)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[1][..., 0].any()
    assert not gradients[0][..., 1].any()


def test_bound_is_large_for_a_copy() -> None:
    """Even though the variance of q cannot fall below 1/e: E(x - y')² e / 2 = e."""
    club = CLUB(1, 1)
    club.mean = linear(1.0, 0.0)
    club.log_variance = nn.Sequential(linear(0.0, -1.0))
    x = torch.randn(20_000, 1)
    assert float(club.bound(x, x)) == pytest.approx(math.e, rel=0.05)


def standardised(values: Tensor, valid: Tensor) -> Tensor:
    """Each dimension over the valid steps."""
    return (values - values[valid].mean(0)) / values[valid].std(0, correction=0)


def test_log_likelihood_is_that_of_a_normal() -> None:
    club, x, y = sequences()
    for valid in (torch.ones(5, 3, dtype=torch.bool), torch.rand(5, 3) > 0.4):
        x_, y_ = standardised(x, valid), standardised(y, valid)
        q = Normal(club.mean(x_), (0.5 * club.log_variance(x_)).exp())
        torch.testing.assert_close(club.log_likelihood(x, y, valid), q.log_prob(y_).sum(-1)[valid].mean())


def test_log_variances_are_within_one() -> None:
    log_variance = CLUB(4, 2).log_variance(1e6 * torch.randn(50, 4))
    assert log_variance.abs().max() <= 1
    assert log_variance.abs().min() > 0.5


@torch.no_grad()
def slow_bound(club: CLUB, x: Tensor, y: Tensor, valid: Tensor, partners: list[list[int]]) -> float:
    """Element by element; row b is compared with each of its partners."""
    x, y = standardised(x, valid), standardised(y, valid)
    total, rows = 0.0, 0
    for b, others in enumerate(partners):
        value, pairs = 0.0, 0
        for other in others:
            steps = [t for t in range(x.shape[1]) if valid[b, t] and valid[other, t]]
            if not steps:
                continue
            pairs += 1
            for d in range(y.shape[2]):
                u = sum(float(club.log_variance(x[b, t])[d]) for t in steps) / len(steps)
                for t in steps:
                    mean = float(club.mean(x[b, t])[d])
                    gap = (mean - float(y[other, t, d])) ** 2 - (mean - float(y[b, t, d])) ** 2
                    value += 0.5 * math.exp(-u) * gap / len(steps)
        if pairs:
            total, rows = total + value / pairs, rows + 1
    return total / rows


def test_bound_element_by_element(monkeypatch: pytest.MonkeyPatch) -> None:
    club, x, y = sequences()
    order = [3, 0, 2, 4, 1]
    monkeypatch.setattr(module, "_shuffled", lambda _: torch.tensor(order))
    everything = torch.ones(5, 3, dtype=torch.bool)
    expected = slow_bound(club, x, y, everything, [[other] for other in order])
    assert float(club.bound(x, y)) == pytest.approx(expected, rel=1e-4)
    expected = slow_bound(club, x, y, everything, [list(range(5))] * 5)
    assert float(club.bound(x, y, negatives="all")) == pytest.approx(expected, rel=1e-4)
    valid = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=torch.bool)
    expected = slow_bound(club, x, y, valid, [[other] for other in order])
    assert float(club.bound(x, y, valid)) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_the_form_of_the_paper_step_by_step() -> None:
    """Equation 5: log q(y_i | x_i) less its mean over all rows, where each step has a Normal of its own."""
    club, x, y = sequences()
    everything = torch.ones(5, 3, dtype=torch.bool)
    x_, y_ = standardised(x, everything), standardised(y, everything)
    q = Normal(club.mean(x_), (0.5 * club.log_variance(x_)).exp())
    own = q.log_prob(y_).sum(-1).mean()
    others = torch.stack([q.log_prob(y_[j]).sum(-1).mean() for j in range(5)]).mean()
    torch.testing.assert_close(club.bound(x, y, negatives="paper"), own - others)
    assert not torch.isclose(club.bound(x, y, negatives="all"), own - others, rtol=1e-4)
    torch.testing.assert_close(
        club.bound(x[:, :1], y[:, :1], negatives="paper"), club.bound(x[:, :1], y[:, :1], negatives="all")
    )


def test_all_negatives_are_the_mean_over_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    club, x, y = sequences(rows=4)
    values = []
    for order in itertools.permutations(range(4)):
        monkeypatch.setattr(module, "_shuffled", lambda _, order=order: torch.tensor(order))
        values.append(club.bound(x, y))
    torch.testing.assert_close(torch.stack(values).mean(), club.bound(x, y, negatives="all"))


def test_permutations_are_of_the_rows_that_are_there() -> None:
    weights = torch.ones(9, 2)
    weights[[2, 5]] = 0
    orders = torch.stack([module._shuffled(weights) for _ in range(50)])
    assert (orders[:, [2, 5]] == torch.tensor([2, 5])).all()
    assert (orders.sort(1).values == torch.arange(9)).all()
    assert (orders[:, 0].unique() == torch.tensor([0, 1, 3, 4, 6, 7, 8])).all()


def test_the_permutation_follows_the_global_generator() -> None:
    club, x, y = sequences()
    torch.manual_seed(3)
    first, second = club.bound(x, y), club.bound(x, y)
    torch.manual_seed(3)
    assert torch.equal(club.bound(x, y), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("negatives", ["shuffled", "all", "paper"])
def test_gradients_go_to_both_sides_and_not_to_the_weights(negatives, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    club, x, y = sequences()
    club.double()
    monkeypatch.setattr(module, "_shuffled", lambda _: torch.tensor([3, 0, 2, 4, 1]))
    valid = torch.rand(5, 3) > 0.2
    inputs = x.double().requires_grad_(), y.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: club.bound(x, y, valid, negatives=negatives), inputs)
    club.bound(*inputs, negatives=negatives).backward()
    assert all(parameter.grad is None for parameter in club.parameters())
    assert all(parameter.requires_grad for parameter in club.parameters())
    club.log_likelihood(*inputs).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in club.parameters())


@pytest.mark.parametrize("negatives", ["shuffled", "all", "paper"])
def test_masks(negatives, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Rows and steps that are not there reach nothing: the same as without them."""
    orders = {6: [3, 1, 0, 5, 4, 2], 4: [2, 0, 3, 1]}  # of the rows that are there, the same
    monkeypatch.setattr(module, "_shuffled", lambda weights: torch.tensor(orders[len(weights)]))
    club, x, y = sequences(rows=6)
    valid = torch.ones(6, 3, dtype=torch.bool)
    valid[[1, 4]] = False
    valid[:, 2] = False
    hidden = torch.where(valid.unsqueeze(-1), x, torch.nan), torch.where(valid.unsqueeze(-1), y, torch.nan)
    kept = [0, 2, 3, 5]
    found = club.bound(*hidden, valid, negatives=negatives)
    torch.testing.assert_close(found, club.bound(x[kept, :2], y[kept, :2], negatives=negatives))
    torch.testing.assert_close(club.log_likelihood(*hidden, valid), club.log_likelihood(x[kept, :2], y[kept, :2]))
    nothing = torch.zeros_like(valid)
    assert club.bound(*hidden, nothing, negatives=negatives) == 0
    assert club.log_likelihood(*hidden, nothing) == 0


def test_vectors_without_steps_are_sequences_of_one() -> None:
    club, x, y = sequences(steps=1)
    torch.testing.assert_close(club.bound(x[:, 0], y[:, 0], negatives="all"), club.bound(x, y, negatives="all"))
    torch.testing.assert_close(club.log_likelihood(x[:, 0], y[:, 0]), club.log_likelihood(x, y))


def test_unknown_negatives() -> None:
    club, x, y = sequences()
    with pytest.raises(ValueError, match="negatives: expected 'shuffled', 'all' or 'paper', got 'one'"):
        club.bound(x, y, negatives="one")  # type: ignore[arg-type]
