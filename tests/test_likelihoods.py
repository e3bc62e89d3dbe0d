from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from mmvae import likelihoods
from mmvae.likelihoods import Likelihood, as_likelihood
from mmvae.testing import LikelihoodContract

LINE = torch.linspace(-60, 60, 120_001)
UNIT = (torch.arange(20_000) + 0.5) / 20_000
COUNTS = torch.arange(3000).float()


class _Real(LikelihoodContract):
    def make_data(self, size: int) -> Tensor:
        return torch.randn(size, *self.shape)

    def make_support(self) -> tuple[Tensor, float]:
        return LINE, 0.001

    def make_unscorable(self) -> Sequence[Tensor]:
        return [torch.zeros(2, *self.shape, dtype=torch.int64), torch.zeros(2, *self.shape, dtype=torch.bool)]


class TestNormal(_Real):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Normal(0.5)


class TestLearnedNormal(_Real):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Normal("learned")


class TestLaplace(_Real):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Laplace(0.75)


class TestLearnedLaplace(_Real):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Laplace("learned")


class TestBernoulli(LikelihoodContract):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Bernoulli()

    def make_data(self, size: int) -> Tensor:
        return torch.rand(size, *self.shape) < 0.5

    def make_support(self) -> tuple[Tensor, float]:
        return torch.tensor([0.0, 1.0]), 1

    def make_unscorable(self) -> Sequence[Tensor]:
        return [torch.full((2, *self.shape), value) for value in (0.5, 3.7, -1.0)]


class TestRelaxedBernoulli(LikelihoodContract):
    normalised = False

    def make_likelihood(self) -> Likelihood:
        return likelihoods.Bernoulli(relaxed=True)

    def make_data(self, size: int) -> Tensor:
        return torch.rand(size, *self.shape)

    def make_support(self) -> tuple[Tensor, float]:
        return UNIT, 1 / 20_000

    def make_unscorable(self) -> Sequence[Tensor]:
        return [torch.full((2, *self.shape), value) for value in (3.7, -0.1)]


class TestContinuousBernoulli(LikelihoodContract):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.ContinuousBernoulli()

    def make_data(self, size: int) -> Tensor:
        return torch.rand(size, *self.shape)

    def make_support(self) -> tuple[Tensor, float]:
        return UNIT, 1 / 20_000

    def make_unscorable(self) -> Sequence[Tensor]:
        return [torch.full((2, *self.shape), 1.5), torch.ones(2, *self.shape, dtype=torch.int64)]


class TestCategorical(LikelihoodContract):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Categorical(5)

    def make_data(self, size: int) -> Tensor:
        return torch.randint(0, 5, (size, *self.shape), dtype=torch.int32)

    def make_support(self) -> tuple[Tensor, float]:
        return torch.arange(5), 1

    def make_unscorable(self) -> Sequence[Tensor]:
        full = (2, *self.shape)
        return [torch.full(full, 5), torch.full(full, -1), torch.zeros(full), torch.ones(full, dtype=torch.bool)]


class TestPoisson(LikelihoodContract):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Poisson()

    def make_data(self, size: int) -> Tensor:
        return torch.randint(0, 9, (size, *self.shape))

    def make_support(self) -> tuple[Tensor, float]:
        return COUNTS, 1

    def make_unscorable(self) -> Sequence[Tensor]:
        return [torch.full((2, *self.shape), 0.5), torch.full((2, *self.shape), -1)]


class TestNegativeBinomial(TestPoisson):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.NegativeBinomial()

    def test_mean_and_variance(self) -> None:
        log_mean, log_dispersion = torch.tensor(1.3), torch.tensor(-0.4)
        distribution = likelihoods.NegativeBinomial()(torch.stack([log_mean, log_dispersion]))
        mean = log_mean.exp()
        torch.testing.assert_close(distribution.mean, mean)
        torch.testing.assert_close(distribution.variance, mean + mean**2 / log_dispersion.exp())


class TestCustom(LikelihoodContract):
    """A bare callable, of a distribution that has an event dimension of its own."""

    def make_likelihood(self) -> Likelihood:
        return as_likelihood(lambda parameters: dist.StudentT(4.0, parameters, 1.0).to_event(1))

    def make_data(self, size: int) -> Tensor:
        return torch.randn(size, *self.shape, dtype=torch.float64)

    def make_support(self) -> tuple[Tensor, float]:
        return LINE, 0.001

    def test_total_probability_is_one(self) -> None:
        """Of one number: the grid of the contract has one for each number of the event."""
        distribution = self.make_likelihood()(torch.zeros(1))
        total = distribution.log_prob(LINE[:, None]).exp().sum() * 0.001
        torch.testing.assert_close(total, torch.tensor(1.0), atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", [likelihoods.Normal, likelihoods.Laplace])
@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), "free"])
def test_scales_out_of_range(kind: type, scale: float) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: scale"):
        kind(scale)


def test_learned_scales_stay_above_their_floor() -> None:
    likelihood = likelihoods.Normal("learned")
    likelihood.log_scale.data.fill_(-50.0)
    assert likelihood.scale >= 1e-3
    assert [name for name, _ in likelihood.named_parameters()] == ["log_scale"]
    assert not list(likelihoods.Normal(0.5).parameters())
    torch.testing.assert_close(likelihoods.Normal(0.5).scale, torch.tensor(0.5))


def test_half_under_a_bernoulli_is_told_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"x: Bernoulli scores 0 and 1; .*relaxed=True.*0.5 in row 1"):
        likelihoods.Bernoulli().conform("x", torch.tensor([[0.0], [0.5]]))
    with pytest.raises(ValueError, match=r"x: .*got 3.7"):
        likelihoods.Bernoulli(relaxed=True).conform("x", torch.tensor([[3.7]]))


def test_extreme_parameters_stay_finite() -> None:
    huge = torch.tensor([[-1e4, 1e4]])
    assert likelihoods.Poisson()(huge).log_prob(torch.tensor([1.0, 1.0])).isfinite().all()
    pairs = torch.tensor([[-1e4, 1e4], [1e4, -1e4]])
    assert likelihoods.NegativeBinomial()(pairs).log_prob(torch.tensor([0.0, 3.0])).isfinite().all()


def test_one_category_is_no_choice() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        likelihoods.Categorical(1)


def test_most_probable_code() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    categorical = likelihoods.Categorical(3)
    assert categorical.point(categorical(logits).to_event(1)).tolist() == [1, 0]


class TestNormalByFeature(_Real):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Normal("by_feature").for_shape(self.shape)


class TestLaplaceByFeature(_Real):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.Laplace("by_feature").for_shape(self.shape)


class TestNegativeBinomialByFeature(TestPoisson):
    def make_likelihood(self) -> Likelihood:
        return likelihoods.NegativeBinomial("by_feature").for_shape(self.shape)


class _ZeroInflated(TestPoisson):
    counts: Any

    def make_likelihood(self) -> Likelihood:
        return likelihoods.ZeroInflated(self.counts).for_shape(self.shape)

    def test_zeros_are_inflated(self) -> None:
        """p(0) = π + (1 - π) p₀(0), p(x) = (1 - π) p₀(x), and the mean is that of the counts times 1 - π."""
        likelihood, parameters = self.make_likelihood(), self.make_parameters(5)
        of_counts = parameters[..., :-1]
        inner: Any = likelihood
        plain = inner.counts(of_counts if inner.counts.parameter_shape(()) else of_counts.squeeze(-1))
        share = parameters[..., -1].double().sigmoid()
        found, counts = likelihood(parameters), torch.tensor([0.0, 1.0, 7.0]).reshape(3, 1, 1, 1).expand(3, 5, 2, 3)
        expected = (1 - share) * plain.log_prob(counts).double().exp() + share * (counts == 0)
        torch.testing.assert_close(found.log_prob(counts).double().exp(), expected, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(found.mean.double(), (1 - share) * plain.mean.double(), rtol=1e-5, atol=1e-6)

    def test_centres_move_the_counts_alone(self) -> None:
        likelihood, parameters = self.make_likelihood(), self.make_parameters(5)
        moved = likelihood.around(parameters, torch.full((3,), 5.0))
        torch.testing.assert_close(moved[..., 0], parameters[..., 0] + torch.tensor(5.0).log())
        assert torch.equal(moved[..., 1:], parameters[..., 1:])


class TestZeroInflatedPoisson(_ZeroInflated):
    counts = likelihoods.Poisson()


class TestZeroInflatedNegativeBinomial(_ZeroInflated):
    counts = likelihoods.NegativeBinomial()


class TestZeroInflatedByFeature(_ZeroInflated):
    counts = likelihoods.NegativeBinomial("by_feature")


class TestColumnsOfCounts(TestPoisson):
    shape = (3,)

    def make_likelihood(self) -> Likelihood:
        kinds = {"a": likelihoods.Poisson(), "b": likelihoods.NegativeBinomial(), "c": likelihoods.Poisson()}
        return likelihoods.Columns(kinds)


class TestColumns(LikelihoodContract):
    shape = (7,)
    normalised = False  # the parts are, and columns are scored as by them

    @staticmethod
    def make_columns() -> dict[str, Likelihood]:
        return {
            "price": likelihoods.Normal(0.7),
            "kind": likelihoods.Categorical(5),
            "visits": likelihoods.NegativeBinomial(),
            "size": likelihoods.Normal("learned"),
            "is_new": likelihoods.Bernoulli(),
            "sort": likelihoods.Categorical(3),
            "weight": likelihoods.Normal("learned"),
        }

    def make_likelihood(self) -> Likelihood:
        return likelihoods.Columns(self.make_columns())

    def make_data(self, size: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        data = torch.randn(size, 7, generator=generator)
        for place, levels in {1: 5, 2: 20, 4: 2, 5: 3}.items():
            data[:, place] = torch.randint(levels, (size,), generator=generator).float()
        return data

    def make_support(self) -> tuple[Tensor, float]:
        return COUNTS, 1

    def make_unscorable(self) -> Sequence[Tensor]:
        return [self.make_data(4).index_fill(1, torch.tensor(place), 7.5) for place in (1, 2, 4, 5)]

    def test_each_column_is_scored_by_its_own(self) -> None:
        likelihood, data, parameters = self.make_likelihood(), self.make_data(6), self.make_parameters(6)
        found, start = likelihood(parameters).log_prob(data), 0
        for place, each in enumerate(self.make_columns().values()):
            width = math.prod(each.parameter_shape(()))
            own = parameters[:, start : start + width].reshape(6, *each.parameter_shape(()))
            values = data[:, place].to(each.data_dtype)
            torch.testing.assert_close(found[:, place], each(own).log_prob(values))
            point = likelihood.point(likelihood(parameters))[:, place]
            torch.testing.assert_close(point, each.point(each(own)).float())
            start += width
        assert start == parameters.shape[1]

    def test_learned_scales_are_one_a_column(self) -> None:
        columns: Any = self.make_likelihood()
        sizes = sorted(len(each) for each in columns.parameters())
        assert sizes == [2]

    def test_draws_and_expansions_keep_the_columns(self) -> None:
        likelihood = self.make_likelihood()
        distribution = likelihood(self.make_parameters(4))
        wide = distribution.expand((3, 4, 7))
        assert wide.sample().shape == (3, 4, 7)
        likelihood.conform("x", wide.sample().flatten(0, 1))
        data = self.make_data(4)
        torch.testing.assert_close(wide.log_prob(data), distribution.log_prob(data).expand(3, 4, 7))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: likelihoods.Columns({}), ValueError, "at least one column"),
        (lambda: likelihoods.Columns([likelihoods.Normal()]), TypeError, "expected a dict"),
        (lambda: likelihoods.Columns({"a": 3}), TypeError, "'a' must be a likelihood of one column"),
        (lambda: likelihoods.Columns({"a": as_likelihood(lambda x: x)}), ValueError, "'a' .*placeholder"),
        (
            lambda: likelihoods.Columns({"a": likelihoods.Poisson("observed")}),
            ValueError,
            "'a' .*a column has no total",
        ),
        (lambda: likelihoods.Columns({"a": likelihoods.Normal()}).for_shape((2,)), ValueError, r"shape \(1,\)"),
        (lambda: likelihoods.ZeroInflated(likelihoods.Normal()), TypeError, "no zeros to inflate"),
        (lambda: likelihoods.NegativeBinomial("feature"), ValueError, "NegativeBinomial: dispersion"),
        (lambda: likelihoods.Normal("feature"), ValueError, '"by_feature"'),
        (lambda: likelihoods.Poisson(3), TypeError, 'library must be "observed"'),
    ],
)
def test_refuses_what_makes_no_likelihood(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("likelihood", [likelihoods.Poisson(), likelihoods.NegativeBinomial("by_feature")])
def test_decoders_of_rare_counts_begin_at_their_mean(likelihood: Likelihood) -> None:
    """A thousandth is a mean like any other; a column that is always zero begins just above it."""
    centre = torch.tensor([1e-3, 0.2, 50.0, 0.0])
    moved = likelihood.around(torch.zeros(4), centre)
    torch.testing.assert_close(moved[:3].exp(), centre[:3])
    assert 0 < float(moved[3].exp()) < 1e-3
