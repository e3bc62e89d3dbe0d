"""Every likelihood over the whole range of its parameters and data, against exact arithmetic."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mpmath as mp
import pytest
import test_likelihoods
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvae import likelihoods
from mmvae.likelihoods import Columns, Custom, Likelihood
from mmvae.testing import LikelihoodContract

PUBLIC = {
    kind
    for name, kind in vars(likelihoods).items()
    if inspect.isclass(kind) and issubclass(kind, Likelihood) and not name.startswith("_") and kind is not Likelihood
}
Number = Any


def reals(reach: float) -> st.SearchStrategy[float]:
    """Numbers of float32 from -reach to reach, small ones among them."""
    return st.floats(-reach, reach, width=32, allow_subnormal=False) | st.floats(-1, 1, width=32, allow_subnormal=False)


LOGARITHMS = st.floats(-20, 20, width=32, allow_subnormal=False)
COUNTS = st.integers(0, 30) | st.integers(0, 2**24) | st.integers(1, 2**12).map(lambda n: n * 2**17)


class Case(NamedTuple):
    """A likelihood, what its parameters and data may be, and its log-density in exact arithmetic."""

    make: Callable[[], Likelihood]
    parameters: st.SearchStrategy[Sequence[float]]
    data: st.SearchStrategy[float]
    log_prob: Callable[[Sequence[Number], Number], Number]


def normal(scale: str) -> Callable[[Sequence[Number], Number], Number]:
    return lambda p, x: -(((x - p[0]) / mp.mpf(scale)) ** 2) / 2 - mp.log(mp.mpf(scale) * mp.sqrt(2 * mp.pi))


def laplace(p: Sequence[Number], x: Number) -> Number:
    return -abs(x - p[0]) / mp.mpf("0.75") - mp.log(mp.mpf("1.5"))


def bernoulli(p: Sequence[Number], x: Number) -> Number:
    return -mp.log1p(mp.exp(-p[0] if x else p[0]))


def continuous_bernoulli(p: Sequence[Number], x: Number) -> Number:
    (logit,) = p
    log_normaliser = mp.log(logit / mp.tanh(logit / 2)) if logit else mp.log(2)
    return x * logit - mp.log1p(mp.exp(logit)) + log_normaliser


def categorical(p: Sequence[Number], x: Number) -> Number:
    return -mp.log(mp.fsum(mp.exp(each - p[int(x)]) for each in p))


def poisson(p: Sequence[Number], x: Number) -> Number:
    return x * p[0] - mp.exp(p[0]) - mp.loggamma(x + 1)


def negative_binomial(p: Sequence[Number], x: Number) -> Number:
    mean, r = mp.exp(p[0]), mp.exp(p[1])
    ways = mp.loggamma(r + x) - mp.loggamma(r) - mp.loggamma(x + 1)
    return ways - r * mp.log1p(mean / r) - x * mp.log1p(r / mean)


def zero_inflated(counts: Callable[[Sequence[Number], Number], Number]) -> Callable[[Sequence[Number], Number], Number]:
    def log_prob(p: Sequence[Number], x: Number) -> Number:
        inflated, plain = -mp.log1p(mp.exp(-p[-1])), -mp.log1p(mp.exp(p[-1])) + counts(p[:-1], x)
        return mp.log(mp.exp(inflated) + mp.exp(plain)) if x == 0 else plain

    return log_prob


CASES = {
    "Normal": Case(lambda: likelihoods.Normal(0.5), st.tuples(reals(1e6)), reals(1e6), normal("0.5")),
    "Normal, sharp": Case(lambda: likelihoods.Normal(1e-6), st.tuples(reals(1e3)), reals(1e3), normal("1e-6")),
    "Normal, vast": Case(lambda: likelihoods.Normal(1e9), st.tuples(reals(2.0**40)), reals(2.0**40), normal("1e9")),
    "Laplace": Case(lambda: likelihoods.Laplace(0.75), st.tuples(reals(1e6)), reals(1e6), laplace),
    "Bernoulli": Case(likelihoods.Bernoulli, st.tuples(reals(1e6)), st.sampled_from([0.0, 1.0]), bernoulli),
    "ContinuousBernoulli": Case(
        likelihoods.ContinuousBernoulli, st.tuples(reals(1e6)), st.floats(0, 1, width=32), continuous_bernoulli
    ),
    "Categorical": Case(
        lambda: likelihoods.Categorical(4), st.tuples(*[reals(1e6)] * 4), st.integers(0, 3), categorical
    ),
    "Poisson": Case(likelihoods.Poisson, st.tuples(LOGARITHMS), COUNTS, poisson),
    "NegativeBinomial": Case(
        likelihoods.NegativeBinomial, st.tuples(LOGARITHMS, LOGARITHMS), COUNTS, negative_binomial
    ),
    "ZeroInflated Poisson": Case(
        lambda: likelihoods.ZeroInflated(likelihoods.Poisson()),
        st.tuples(LOGARITHMS, LOGARITHMS),
        COUNTS,
        zero_inflated(poisson),
    ),
    "ZeroInflated NegativeBinomial": Case(
        lambda: likelihoods.ZeroInflated(likelihoods.NegativeBinomial()),
        st.tuples(LOGARITHMS, LOGARITHMS, LOGARITHMS),
        COUNTS,
        zero_inflated(negative_binomial),
    ),
}


def scored(case: Case, parameters: Sequence[float], x: float, autocast: bool = False) -> tuple[float, list[float]]:
    """The library's log-density of one number in float32, and its gradient by the parameters."""
    tensor = torch.tensor(parameters)
    tensor = (tensor.bfloat16() if autocast else tensor).requires_grad_()
    likelihood = case.make()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        shaped = tensor if likelihood.parameter_shape(()) else tensor.reshape(())
        found = likelihood(shaped).log_prob(torch.tensor(x).to(likelihood.data_dtype))
    assert found.dtype == torch.float32
    found.backward()
    assert tensor.grad is not None
    return float(found.detach()), tensor.grad.tolist()


def exactly(case: Case, parameters: Sequence[float], x: float) -> tuple[float, list[float]]:
    """The same in arithmetic of 60 digits."""
    with mp.workdps(60):
        point = [mp.mpf(each) for each in torch.tensor(parameters).tolist()]
        step = mp.mpf(10) ** -20

        def at(place: int, shift: Number) -> Number:
            return case.log_prob([each + shift * (place == i) for i, each in enumerate(point)], mp.mpf(x))

        slopes = [(at(place, step) - at(place, -step)) / (2 * step) for place in range(len(point))]
        return float(at(0, mp.mpf(0))), [float(each) for each in slopes]


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(drawn=st.data())
def test_log_densities_and_their_gradients_are_exact_over_the_whole_range(name: str, drawn: st.DataObject) -> None:
    case = CASES[name]
    parameters, x = drawn.draw(case.parameters), drawn.draw(case.data)
    value, slopes = scored(case, parameters, x)
    expected, expected_slopes = exactly(case, parameters, x)
    assert value == pytest.approx(expected, rel=1e-3, abs=1e-5)
    if not (name == "Laplace" and abs(parameters[0] - x) < 1e-6):  # where the slope has two values
        assert slopes == pytest.approx(expected_slopes, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(drawn=st.data())
def test_log_densities_under_autocast_are_those_of_the_rounded_parameters(name: str, drawn: st.DataObject) -> None:
    case = CASES[name]
    parameters, x = drawn.draw(case.parameters), drawn.draw(case.data)
    rounded = torch.tensor(parameters).bfloat16().tolist()
    assert scored(case, parameters, x, autocast=True)[0] == pytest.approx(
        exactly(case, rounded, x)[0], rel=1e-3, abs=1e-5
    )


@pytest.mark.parametrize("log_mean", [-3.0, 2.0, 9.0, 15.0])
@pytest.mark.parametrize("log_dispersion", [-2.0, 4.0, 4.7, 10.0, 14.0, 20.0])
def test_probabilities_of_counts_sum_to_one(log_mean: float, log_dispersion: float) -> None:
    """Over all counts up to 20,000, and beyond by the trapezoid rule over counts of which each is 1.0001 times the one
    before."""
    mean, dispersion = torch.tensor([log_mean, log_dispersion]).double().exp().tolist()
    high = int(mean + 60 * (mean + mean**2 / dispersion) ** 0.5 + 20_000)
    powers = torch.arange(99_035, 1 + int(10_000 * torch.log(torch.tensor(float(high)))))
    counts = torch.cat([torch.arange(20_000).double(), (powers.double() / 10_000).exp().round()]).unique()
    for likelihood, parameters in (
        (likelihoods.NegativeBinomial(), torch.tensor([log_mean, log_dispersion])),
        (likelihoods.Poisson(), torch.tensor(log_mean)),
    ):
        probability = likelihood(parameters).log_prob(counts).exp()
        assert float(torch.trapezoid(probability, counts) + probability[0] / 2) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("logit", [0.0, 1e-6, -1e-3, 0.1, 0.599, 0.601, 5.0, -17.0, 30.0, 300.0, -1e4])
def test_the_continuous_bernoulli_integrates_to_one_and_has_its_moments(logit: float) -> None:
    distribution = likelihoods.ContinuousBernoulli()(torch.tensor(logit))
    scale = max(1.0, abs(logit))
    near = torch.linspace(0, min(1.0, 60 / scale), 200_001, dtype=torch.float64)  # of the end that is likely
    x = 1 - near if logit > 0 else near
    density = distribution.log_prob(x).double().exp()
    mean = torch.trapezoid(density * x, near)
    assert float(torch.trapezoid(density, near)) == pytest.approx(1, abs=1e-4)
    assert float(distribution.mean) == pytest.approx(float(mean), abs=1e-5)
    variance = torch.trapezoid(density * (x - mean).square(), near)
    assert float(distribution.variance) == pytest.approx(float(variance), rel=2e-3)
    assert float(distribution.entropy()) == pytest.approx(
        float(-torch.trapezoid(density * distribution.log_prob(x).double(), near)), rel=1e-3, abs=1e-3
    )
    draws = distribution.sample((40_000,))
    error = (float(distribution.variance) / 40_000) ** 0.5
    assert abs(float(draws.double().mean()) - float(distribution.mean)) < 5 * error
    u = torch.linspace(0.05, 0.95, 19)
    if abs(logit) < 100:  # beyond, float32 has too few numbers next to 1
        torch.testing.assert_close(distribution.cdf(distribution.icdf(u)), u, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kind", "size"), [(likelihoods.Poisson, 1), (likelihoods.NegativeBinomial, 2)])
@pytest.mark.parametrize("far", [-1e4, -40.0, 40.0, 1e4])
def test_log_rates_beyond_their_bounds_still_have_gradients(
    kind: Callable[[], Likelihood], size: int, far: float
) -> None:
    parameters = torch.full((size,), far, requires_grad=True)
    likelihood = kind()
    distribution = likelihood(parameters if size > 1 else parameters.reshape(()))
    log_prob = distribution.log_prob(torch.tensor(7.0))
    log_prob.backward()
    assert log_prob.isfinite()
    assert distribution.mean.isfinite()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()
    assert parameters.grad[0] * far < 0  # back to where the count is


@pytest.mark.parametrize("kind", [likelihoods.Normal, likelihoods.Laplace])
@pytest.mark.parametrize("log_scale", [-1e4, -60.0, 60.0, 1e4])
def test_learned_scales_of_any_size_have_gradients(kind: Callable[[str], Likelihood], log_scale: float) -> None:
    likelihood = kind("learned")
    with torch.no_grad():
        likelihood.log_scale.fill_(log_scale)
    log_prob = likelihood(torch.zeros(5)).log_prob(torch.linspace(-2, 2, 5)).sum()
    log_prob.backward()
    assert log_prob.isfinite()
    assert likelihood.log_scale.grad * log_scale < 0


def test_distributions_of_the_library_expand_and_draw_as_pyros_do() -> None:
    shapes = {"Poisson": (), "NegativeBinomial": (2,), "ContinuousBernoulli": ()}
    for name, tail in shapes.items():
        distribution = getattr(likelihoods, name)()(torch.randn(3, 4, *tail)).to_event(1)
        wide = distribution.expand((5, 3))
        assert (wide.batch_shape, wide.event_shape) == ((5, 3), (4,))
        draws = wide.sample((2,))
        assert draws.shape == (2, 5, 3, 4)
        torch.testing.assert_close(wide.log_prob(draws[0]), distribution.log_prob(draws[0]))
        torch.testing.assert_close(wide.mean[0], distribution.mean)
        torch.testing.assert_close(wide.variance[0], distribution.variance)


def test_every_public_likelihood_is_held_to_the_contract_and_to_exact_arithmetic() -> None:
    contracts = [
        each
        for name, each in vars(test_likelihoods).items()
        if name.startswith("Test")
        and inspect.isclass(each)
        and issubclass(each, LikelihoodContract)
        and not inspect.isabstract(each)
    ]
    assert {type(each().make_likelihood()) for each in contracts} >= PUBLIC
    assert {type(case.make()) for case in CASES.values()} >= PUBLIC - {Custom, Columns}  # made of others
