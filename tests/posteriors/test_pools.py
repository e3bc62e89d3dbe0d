"""Pools and products of dependent experts: their closed forms by inverses, grids and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmvae.layout import Layout
from mmvae.posteriors import (
    DependentProduct,
    Experts,
    GeometricPool,
    HoelderGaussian,
    HoelderPool,
    JointPosterior,
    Mixture,
    Product,
    SetPooling,
    SharedFusion,
)
from mmvae.testing import PosteriorContract

NAMES = ("a", "b", "c")


class TestGeometricPool(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        pool = GeometricPool(len(names), latent_dim)
        with torch.no_grad():
            pool.logits.copy_(torch.linspace(-1, 1, pool.logits.numel()).reshape(pool.logits.shape))
        return pool


class TestDependentProduct(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return DependentProduct(0.6)


class TestHoelderPool(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return HoelderPool()


class TestHoelderGaussian(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return HoelderGaussian()


class TestSetPooling(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return SetPooling(latent_dim, 8, 8)


def experts(seed: int, count: int = 3, size: int = 2, observed: bool = True) -> Experts:
    """Random experts of four rows; every row has the first one."""
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(count, 4, size, generator=generator, dtype=torch.float64)
    scale = torch.randn(count, 4, size, generator=generator, dtype=torch.float64).mul(0.6).exp()
    mask = torch.rand(count, 4, generator=generator) < 0.6
    mask[0] = True
    return Experts(NAMES[:count], loc, scale, None if observed else mask, dist.Normal)


def members(count: int) -> Tensor:
    return torch.tensor(list(product([False, True], repeat=count)))


FUSIONS = [
    GeometricPool(3, 2).double(),
    DependentProduct(0.5),
    HoelderPool(),
    HoelderGaussian(),
    SetPooling(2).double(),
]


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda each: type(each).__name__)
def test_subsets_at_once_are_subsets_one_by_one(fusion: SharedFusion) -> None:
    """Masks of members and of rows say the same, and rows without a member are standard."""
    given_ = experts(0, observed=False)
    assert given_.observed is not None
    together = fusion.fuse(given_, members(3))
    point = torch.full((8, 4, 2), 0.3, dtype=torch.float64)
    standard = dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1)
    for index, member in enumerate(members(3)):
        seen = given_.observed & member[:, None]
        for row in range(4):
            rows = seen[:, row].nonzero().flatten()
            if len(rows):
                names = tuple(NAMES[each] for each in rows)
                loc, scale = given_.loc[rows][:, row : row + 1], given_.scale[rows][:, row : row + 1]
                alone = fusion.fuse(Experts(names, loc, scale, None, dist.Normal, everyone=NAMES))
                expected = alone.log_prob(point[index, row])
            else:
                expected = standard.log_prob(point[index, row])[None]
            torch.testing.assert_close(together.log_prob(point)[index, row], expected[0])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), count=st.integers(1, 3), correlation=st.sampled_from([0.0, 0.2, 0.6, 0.9]))
def test_a_consensus_is_that_of_the_inverse_covariance(seed: int, count: int, correlation: float) -> None:
    given_ = experts(seed, count)
    found = DependentProduct(correlation).fuse(given_).base_dist
    one = torch.ones(count, dtype=torch.float64)
    for row in range(4):
        for column in range(2):
            scale, loc = given_.scale[:, row, column], given_.loc[:, row, column]
            covariance = correlation * scale.outer(scale) + (1 - correlation) * scale.square().diag()
            inverse = torch.linalg.inv(covariance)
            precision = one @ inverse @ one
            torch.testing.assert_close(found.scale[row, column] ** -2, precision)
            torch.testing.assert_close(found.loc[row, column], (one @ inverse @ loc) / precision)


def test_without_correlation_the_consensus_is_the_product() -> None:
    given_ = experts(1, observed=False)
    one, other = (each.fuse(given_, members(3)).base_dist for each in (DependentProduct(0.0), Product(False)))
    torch.testing.assert_close(one.loc, other.loc)
    torch.testing.assert_close(one.scale, other.scale)
    with pytest.raises(ValueError, match=r"correlation: expected a number from 0 to below 1, got 1\.0"):
        DependentProduct(1.0)


def test_a_consensus_may_lie_outside_the_range_of_its_experts() -> None:
    """Two experts, the one less sure than the correlation allows: it is subtracted."""
    loc = torch.tensor([[[0.0]], [[1.0]]])
    scale = torch.tensor([[[1.0]], [[4.0]]])
    found = DependentProduct(0.5).fuse(Experts(("a", "b"), loc, scale, None, dist.Normal))
    assert found.mean.item() < 0
    assert found.stddev.item() < 1


def test_the_pool_of_equal_weights_is_the_geometric_mean() -> None:
    """Normalised on a grid; of one expert it is that expert, and n equal experts are one of them."""
    given_ = experts(2, size=1)
    found = GeometricPool(3, 1).double().fuse(given_)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    density = given_.distribution.log_prob(grid[:, None, None, None].expand(-1, 3, 4, 1)).mean(1)
    density = density - (density.exp().sum(0) * (grid[1] - grid[0])).log()
    torch.testing.assert_close(found.log_prob(grid[:, None, None].expand(-1, 4, 1)), density, rtol=1e-6, atol=1e-6)
    only = replace(given_, names=("b",), loc=given_.loc[1:2], scale=given_.scale[1:2], everyone=NAMES)
    alone = GeometricPool(3, 1).double().fuse(only)
    torch.testing.assert_close(alone.mean, given_.loc[1])
    torch.testing.assert_close(alone.stddev, given_.scale[1])


def test_a_weight_may_take_a_modality_out_of_a_column() -> None:
    given_ = experts(3)
    pool = GeometricPool(3, 2).double()
    with torch.no_grad():
        pool.logits[:, 0] = torch.tensor([50.0, 0.0, 0.0])
    found = pool.fuse(given_)
    torch.testing.assert_close(found.mean[:, 0], given_.loc[0, :, 0])
    torch.testing.assert_close(found.stddev[:, 0], given_.scale[0, :, 0])
    assert (pool.weights.sum(0) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_hoelder_pool_is_the_square_of_the_sum_of_roots(count: int) -> None:
    """On a grid in two dimensions: the same density, which integrates to one."""
    given_ = experts(4, count)
    given_ = replace(given_, scale=given_.scale.clamp(0.3, 1.5))
    line = torch.linspace(-14, 14, 561, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line).unsqueeze(1).expand(-1, 4, 2)
    step = (line[1] - line[0]) ** 2
    roots = (0.5 * given_.distribution.log_prob(grid.unsqueeze(1))).logsumexp(1)
    expected = (2 * roots).exp()
    found = HoelderPool().fuse(given_).log_prob(grid).exp()
    torch.testing.assert_close(found.sum(0) * step, torch.ones(4, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(found, expected / (expected.sum(0) * step), atol=1e-9, rtol=1e-6)
    gaussian = HoelderGaussian().fuse(given_)
    mean = (found.unsqueeze(-1) * grid).sum(0) * step
    variance = (found.unsqueeze(-1) * (grid - mean).square()).sum(0) * step
    torch.testing.assert_close(gaussian.mean, mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gaussian.variance, variance, atol=1e-6, rtol=1e-6)


def test_equal_experts_are_pooled_to_one_of_them_and_distant_ones_to_a_mixture() -> None:
    point = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = experts(5, 1)
    same = Experts(NAMES, one.loc.expand(3, -1, -1), one.scale.expand(3, -1, -1), None, dist.Normal)
    expected = one.distribution.log_prob(point.unsqueeze(1))[:, 0]
    torch.testing.assert_close(HoelderPool().fuse(same).log_prob(point), expected)
    given_ = experts(6)
    apart = replace(given_, loc=given_.loc + 200 * torch.arange(3.0)[:, None, None])
    points = apart.distribution.rsample()
    torch.testing.assert_close(HoelderPool().fuse(apart).log_prob(points), Mixture().fuse(apart).log_prob(points))


def test_weights_of_pairs_learn_through_the_density_and_vanish_without_harm() -> None:
    """Gradients are finite where experts are absent, and where pairs weigh nothing to within rounding."""
    loc = torch.tensor([0.0, 0.5, 300.0]).reshape(3, 1, 1).repeat(1, 2, 2).requires_grad_()
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    given_ = Experts(NAMES, loc, torch.ones(3, 2, 2), mask, dist.Normal)
    pool = HoelderPool().fuse(given_)
    assert (pool.weights[4:] == 0).all()
    (slope,) = torch.autograd.grad(pool.log_prob(torch.zeros(2, 2)).sum(), loc)
    assert slope.isfinite().all()
    (slope,) = torch.autograd.grad(HoelderPool().fuse(given_).weights[3, 0], loc)
    assert (slope[:2, 0] != 0).all()


@pytest.mark.parametrize("fusion", FUSIONS[1:], ids=lambda each: type(each).__name__)
def test_private_columns_are_their_owners(fusion: SharedFusion) -> None:
    layout = Layout(2, {"b": 1})
    given_ = experts(7, size=3, observed=False)
    assert given_.observed is not None
    speaking = Experts(NAMES, given_.loc, given_.scale, given_.observed, dist.Normal, layout)
    found = fusion.fuse(speaking)
    has = given_.observed[1]
    torch.testing.assert_close(found.mean[has, 2], given_.loc[1, has, 2])
    torch.testing.assert_close(found.variance[has, 2], given_.scale[1, has, 2].square())
    assert (found.mean[~has, 2] == 0).all()
    torch.testing.assert_close(found.mean[:, :2], fusion.fuse(speaking.of_shared()).mean)
