"""Transforms by themselves: inverses, Jacobians, and what they are fitted to."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmvae import transforms
from mmvae.distributions import InDataUnits
from mmvae.transforms import Log1p, LogNormalize, Standardize, Transform

SHAPES: list[tuple[int, ...]] = [(), (4,), (5, 3), (2, 4, 3), (2, 3, 2, 2)]
COLUMNS: list[tuple[int, ...]] = [(), (4,), (3,), (2, 1, 1), (2, 1, 1, 1)]
WITH_DENSITY = [Standardize, Log1p]


def positive(rows: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed)).mul(1.5).exp()


def fitted(kind: type[Transform], shape: tuple[int, ...], rows: int = 40) -> tuple[Transform, Tensor]:
    transform, values = kind(), positive(rows, shape)
    transform.fit(values)
    return transform, values


@pytest.mark.parametrize("kind", WITH_DENSITY)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_inverse_gives_the_data_back(kind: type[Transform], shape: tuple[int, ...]) -> None:
    transform, values = fitted(kind, shape)
    torch.testing.assert_close(transform.inverse(transform(values)), values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", WITH_DENSITY)
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_log_jacobians_are_those_of_automatic_differentiation(kind: type[Transform], shape: tuple[int, ...]) -> None:
    transform, values = fitted(kind, shape)
    for row, found in zip(values[:3], transform.log_jacobian(values[:3]), strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat, row=row: transform(flat.reshape(1, *row.shape)).flatten(), row.flatten()
        )
        torch.testing.assert_close(found, torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", WITH_DENSITY)
def test_log_jacobians_count_what_is_observed(kind: type[Transform]) -> None:
    transform, values = fitted(kind, (5, 3))
    cells = torch.rand(40, 5, 3) < 0.5
    steps = torch.rand(40, 5) < 0.5
    rows = torch.rand(40) < 0.5
    each = transform.log_derivative(values)
    for mask, whole in ((cells, cells), (steps, steps[:, :, None]), (rows, rows[:, None, None])):
        torch.testing.assert_close(transform.log_jacobian(values, mask), (each * whole).sum((1, 2)))


@pytest.mark.parametrize("kind", [*WITH_DENSITY, LogNormalize])
@pytest.mark.parametrize(("shape", "columns"), list(zip(SHAPES, COLUMNS, strict=True)))
def test_columns_are_standardised(kind: type[Transform], shape: tuple[int, ...], columns: tuple[int, ...]) -> None:
    if kind is LogNormalize and not shape:
        pytest.skip("one number is its own total")
    transform, values = fitted(kind, shape)
    assert transform.loc.shape == transform.scale.shape == columns
    assert transform.is_fitted
    seen = transform(values).double()
    others = {0: [0], 1: [0], 2: [0, 1], 3: [0, 2, 3], 4: [0, 2, 3, 4]}[len(shape)]
    torch.testing.assert_close(seen.mean(others), torch.zeros_like(seen.mean(others)), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.var(others, correction=0), torch.ones_like(seen.mean(others)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", WITH_DENSITY)
def test_values_that_are_missing_count_for_nothing(kind: type[Transform]) -> None:
    values = positive(60, (4,))
    mask = torch.rand(60, 4, generator=torch.Generator().manual_seed(1)) < 0.6
    transform, other = kind(), kind()
    transform.fit(values, mask)
    other.fit(torch.where(mask, values, 1e6), mask)
    assert torch.equal(transform.loc, other.loc)
    warped = transform.warp(values).double()
    for column in range(4):
        there = warped[mask[:, column], column]
        assert float(transform.loc[column]) == pytest.approx(float(there.mean()), rel=1e-6)
        assert float(transform.scale[column]) == pytest.approx(float(there.std(correction=0)), rel=1e-6)
    rows = torch.arange(60) < 20
    transform.fit(values, rows)
    other.fit(values[:20])
    torch.testing.assert_close((transform.loc, transform.scale), (other.loc, other.scale))


@pytest.mark.parametrize("at_a_time", [1, 12, 50])
def test_many_rows_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    values, mask = positive(31, (4,)), torch.rand(31, 4) < 0.7
    whole, parts = Standardize(), Standardize()
    whole.fit(values, mask)
    monkeypatch.setattr(transforms, "_AT_A_TIME", at_a_time)
    parts.fit(values, mask)
    torch.testing.assert_close((whole.loc, whole.scale), (parts.loc, parts.scale))


@given(st.sampled_from([0.0, 1.0, -3e4, 1e6, 1e30]), st.integers(1, 5))
def test_constant_columns_have_scale_one(value: float, rows: int) -> None:
    transform = Standardize()
    transform.fit(torch.full((rows, 2), value))
    assert transform.scale.tolist() == [1.0, 1.0]
    assert torch.equal(transform(torch.full((1, 2), value)), torch.zeros(1, 2))


def test_columns_without_any_value_stay_as_they_are() -> None:
    transform = Standardize()
    transform.fit(torch.tensor([[0.0, 1.0], [0.0, 3.0]]), torch.tensor([[False, True], [False, True]]))
    assert (transform.loc.tolist(), transform.scale.tolist()) == ([0.0, 2.0], [1.0, 1.0])


def test_tiny_deviations_beside_large_means_are_standardised() -> None:
    values = 50.0 + 2e-4 * torch.randn(500, 2, dtype=torch.float64)
    transform = Standardize()
    transform.fit(values)
    torch.testing.assert_close(transform.scale, values.std(0, correction=0).float(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", [Standardize, Log1p])
def test_until_it_is_fitted_it_only_warps(kind: type[Transform]) -> None:
    transform, values = kind().for_shape((4,)), positive(3, (4,))
    assert not transform.is_fitted
    assert torch.equal(transform(values), transform.warp(values))


def test_log_normalised_rows_of_any_depth_look_alike() -> None:
    counts = torch.poisson(positive(50, (6,)) * 20)
    transform = LogNormalize(1e4)
    transform.fit(counts)
    torch.testing.assert_close(transform(counts), transform(counts * 7), rtol=1e-4, atol=1e-4)
    expected = (counts / counts.sum(1, keepdim=True) * 1e4).log1p()
    torch.testing.assert_close(transform.warp(counts), expected, rtol=1e-4, atol=1e-4)
    assert transform(torch.zeros(1, 6)).isfinite().all()


def test_the_usual_total_is_the_median() -> None:
    counts = torch.tensor([[1.0, 1.0], [2.0, 2.0], [30.0, 20.0], [0.0, 0.0]])
    transform = LogNormalize()
    transform.fit(counts)
    assert float(transform.size) == 4.0
    given = LogNormalize(100.0)
    given.fit(counts)
    assert (float(given.size), float(given.typical)) == (100.0, 4.0)
    torch.testing.assert_close(given.unwarp(given.warp(torch.tensor([[1.0, 3.0]]))), torch.tensor([[1.0, 3.0]]))


@pytest.mark.parametrize("size", [0, -1.0, math.inf])
def test_sizes_out_of_range(size: float) -> None:
    with pytest.raises(ValueError, match=r"LogNormalize: size.* number .*0|LogNormalize: size.* finite number"):
        LogNormalize(size)


@pytest.mark.parametrize(("kind", "value"), [(Log1p, -1.5), (LogNormalize, -1.0)])
def test_values_that_it_cannot_take_are_named(kind: type[Transform], value: float) -> None:
    with pytest.raises(ValueError, match=rf"labs: the transform {kind.__name__} takes .*got {value:g}; take"):
        kind().check("labs", torch.tensor([[2.0, value]]))


def test_copies_and_states_carry_what_was_fitted() -> None:
    transform, values = fitted(Log1p, (4,))
    other = Log1p().for_shape((4,))
    other.load_state_dict(transform.state_dict())
    for same in (other, copy.deepcopy(transform)):
        assert same.is_fitted
        assert torch.equal(same(values), transform(values))


# The distribution of the data, from one of what is seen.


@pytest.mark.parametrize("kind", WITH_DENSITY)
def test_densities_in_data_units_integrate_to_one(kind: type[Transform]) -> None:
    import pyro.distributions as dist

    transform, _ = fitted(kind, (3,))
    base = dist.Normal(torch.tensor([[0.3, -0.2, 1.0]]), 0.7)
    grid = torch.cat([torch.linspace(-0.999999, 1, 40_001), torch.linspace(1, 3000, 3_000_001)[1:]]).double()
    if kind is Standardize:
        grid = torch.linspace(-200, 200, 400_001, dtype=torch.float64)
    values = grid[:, None].expand(-1, 3)
    density = InDataUnits(base.expand((len(grid), 3)), transform).log_prob(values).exp()
    total = torch.trapezoid(density, grid, dim=0)
    torch.testing.assert_close(total, torch.ones(3, dtype=torch.float64), atol=1e-3, rtol=0)


def test_moments_and_draws_in_data_units() -> None:
    import pyro.distributions as dist

    transform, _ = fitted(Standardize, (3,))
    whole = InDataUnits(dist.Normal(torch.randn(2, 3), 0.5).to_event(1), transform)
    draws = whole.sample((40_000,))
    assert draws.shape == (40_000, 2, 3)
    standard_error = whole.variance.sqrt() / 200
    assert ((draws.mean(0) - whole.mean).abs() < 5 * standard_error).all()
    torch.testing.assert_close(draws.var(0), whole.variance, rtol=0.05, atol=0)
    assert whole.expand((4, 2)).log_prob(draws[:4]).shape == (4, 2)
    assert whole.has_rsample
    skewed: Any = InDataUnits(whole.base, fitted(Log1p, (3,))[0])
    with pytest.raises(NotImplementedError, match="mean of data seen through Log1p"):
        _ = skewed.mean
