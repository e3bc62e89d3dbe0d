from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvae.distributions import SharedScaleLaplace, SharedScaleNormal

PAIRS = [(SharedScaleNormal, dist.Normal), (SharedScaleLaplace, dist.Laplace)]
SHAPES = st.sampled_from([((3, 4, 2, 5), (4, 2, 5)), ((4, 2, 5), (4, 2, 5)), ((4, 2, 5), (3, 4, 2, 5)), ((7,), (7,))])


@pytest.mark.parametrize(("fast", "plain"), PAIRS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), shapes=SHAPES, scale=st.floats(1e-3, 1e3))
def test_events_are_scored_as_by_their_numbers(
    fast: type, plain: type, seed: int, shapes: tuple[tuple[int, ...], tuple[int, ...]], scale: float
) -> None:
    """Values and gradients, for events of any number of dimensions."""
    torch.manual_seed(seed)
    loc, value = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    sigma = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    for count in range(len(shapes[0]) - 1):
        found, expected = (each(loc, sigma).to_event(count).log_prob(value) for each in (fast, plain))
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad(each.square().sum(), (loc, value, sigma)) for each in (found, expected)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("fast", "plain"), PAIRS)
def test_large_events_are_summed_exactly_enough(fast: type, plain: type) -> None:
    loc, value, scale = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64), torch.tensor(0.75)
    exact = plain(loc.double(), scale.double()).to_event(3).log_prob(value.double())
    torch.testing.assert_close(fast(loc, scale).to_event(3).log_prob(value).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("fast", "plain"), PAIRS)
def test_it_expands_and_draws(fast: type, plain: type) -> None:
    wide = fast(torch.zeros(4, 5), torch.tensor(2.0)).to_event(1).expand([3, 4])
    value = torch.randn(3, 4, 5)
    torch.testing.assert_close(wide.log_prob(value), plain(0.0, 2.0).log_prob(value).sum(-1))
    assert wide.sample((2,)).shape == (2, 3, 4, 5)


@pytest.mark.parametrize(("fast", "plain"), PAIRS)
def test_values_are_checked_where_that_is_asked_for(fast: type, plain: type) -> None:
    event = fast(torch.zeros(4, 5), torch.tensor(2.0), validate_args=True).to_event(1)
    with pytest.raises(ValueError, match="support"):
        event.log_prob(torch.full((4, 5), torch.nan))
