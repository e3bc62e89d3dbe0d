from __future__ import annotations

from collections.abc import Sequence

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
