from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmvae.distributions import soft_clamp

BOUNDS = st.sampled_from([(-15.0, 15.0), (-20.0, 20.0), (-14.0, 0.0), (2.0, 3.0)])


def with_gradient(x: float, low: float, high: float) -> tuple[float, float]:
    """The value and the slope, in float32."""
    tensor = torch.tensor(x, requires_grad=True)
    found = soft_clamp(tensor, low, high)
    (gradient,) = torch.autograd.grad(found, tensor)
    return float(found.detach()), float(gradient)


@given(share=st.floats(0, 1), bounds=BOUNDS)
def test_inside_nothing_changes(share: float, bounds: tuple[float, float]) -> None:
    low, high = bounds
    x = float(torch.tensor(low + share * (high - low)).clamp(low, high))
    assert with_gradient(x, low, high) == (x, 1.0)


@given(excess=st.floats(1e-3, 1e15), above=st.booleans(), bounds=BOUNDS)
def test_outside_it_stays_close_and_keeps_a_gradient(excess: float, above: bool, bounds: tuple[float, float]) -> None:
    low, high = bounds
    value, slope = with_gradient(high + excess if above else low - excess, low, high)
    beyond = value - high if above else low - value
    assert 0 <= beyond <= 0.1 * (high - low) + 1e-6
    assert 0 < slope < 1


@given(first=st.floats(-1e6, 1e6), second=st.floats(-1e6, 1e6), bounds=BOUNDS)
def test_it_never_falls(first: float, second: float, bounds: tuple[float, float]) -> None:
    smaller, larger = sorted([first, second])
    assert with_gradient(smaller, *bounds)[0] <= with_gradient(larger, *bounds)[0]


@pytest.mark.parametrize("bound", [-15.0, 15.0])
def test_value_and_slope_are_continuous_at_the_bounds(bound: float) -> None:
    sides = [with_gradient(bound + step, -15.0, 15.0) for step in (-1e-3, 0.0, 1e-3)]
    for value, slope in sides:
        assert value == pytest.approx(bound, abs=2e-3)
        assert slope == pytest.approx(1, abs=2e-3)


def test_slopes_are_the_derivative() -> None:
    x = torch.linspace(-200, 200, 801, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: soft_clamp(each, -15.05, 14.95), x)


@pytest.mark.parametrize(("low", "high"), [(-15.0, 15.0), (-14.0, 0.0), (2.0, 3.0)])
def test_it_is_the_curve_of_its_formula_with_both_derivatives(low: float, high: float) -> None:
    x = torch.linspace(low - 40, high + 40, 200, dtype=torch.float64, requires_grad=True)
    width = (high - low) / (5 * math.pi)
    beyond = ((x - high).clamp(min=0) - (low - x).clamp(min=0)) / width
    torch.testing.assert_close(soft_clamp(x, low, high), x.clamp(low, high) + width * beyond.atan())
    slope = 1 / (1 + beyond**2)
    (found,) = torch.autograd.grad(soft_clamp(x, low, high).sum(), x, create_graph=True)
    torch.testing.assert_close(found, slope)
    torch.testing.assert_close(*(torch.autograd.grad(each.sum(), x)[0] for each in (found, slope)))


def test_infinities_stay_within_and_what_is_not_a_number_stays() -> None:
    x = torch.tensor([-torch.inf, torch.inf, torch.nan], requires_grad=True)
    found = soft_clamp(x, -15.0, 15.0)
    assert found[:2].tolist() == pytest.approx([-18.0, 18.0])
    assert found[2].isnan()
    found[:2].sum().backward()
    assert x.grad is not None
    assert x.grad[:2].isfinite().all()
