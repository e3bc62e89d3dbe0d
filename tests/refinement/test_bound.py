"""The bound and its slope: on the yardstick in closed form, elsewhere by other means."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from objectives.parts import Parts
from pyro import poutine
from refinement.parts import WEIGHTS, YARDSTICK, exact_bound, gaussian, in_float64
from torch import Tensor

from mmvae import Batch, models
from mmvae.refinement import Bound, Gaussian, bound
from mmvae.refinement.balanced_noise import balanced_noise
from mmvae.subsets import powerset

DATA = YARDSTICK.sample(5)
CASES: dict[str, dict[str, Any]] = {
    "honest": {},
    "modality weights": {"weights": WEIGHTS},
    "all weights": {"weights": WEIGHTS, "beta": 2.5},
    "beta as a tensor": {"beta": torch.tensor(0.3)},
}
each_case = pytest.mark.parametrize("case", list(CASES))


def balanced(num_samples: int, latent_dim: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return balanced_noise(num_samples, latent_dim, generator, torch.zeros((), dtype=dtype))


def on_the_yardstick() -> tuple[models.MVAE, Batch]:
    model = models.MVAE(YARDSTICK.modalities(), 3)
    return model, model.prepare(DATA)


def closed_form(q: Gaussian, subset: Any, options: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The exact bound, and its gradient by autograd."""
    loc = q.loc.double().requires_grad_()
    log_variance = q.log_variance.double().requires_grad_()
    value = exact_bound(YARDSTICK, {name: DATA[name] for name in subset}, loc, log_variance, **options)
    return value.detach(), *torch.autograd.grad(value.sum(), (loc, log_variance))


@each_case
@pytest.mark.parametrize("num_samples", [6, 32])
def test_balanced_noise_makes_it_exact_on_the_yardstick(case: str, num_samples: int) -> None:
    """From 2 D draws on, for every subset, value and slope: log-likelihoods are quadratic in z."""
    model, batch = on_the_yardstick()
    q, noise = gaussian(), balanced(num_samples)
    for subset in powerset(YARDSTICK.names):
        climbed = Bound(model, batch.restrict(subset), **CASES[case])
        value, loc, log_variance = closed_form(q, subset, CASES[case])
        slope = climbed.slope(q, noise)
        torch.testing.assert_close(climbed.at(q, noise).double().detach(), value, rtol=2e-5, atol=1e-4)
        torch.testing.assert_close(slope.value.double(), value, rtol=2e-5, atol=1e-4)
        torch.testing.assert_close(slope.loc.double(), loc, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(slope.log_variance.double(), log_variance, rtol=1e-4, atol=1e-4)


def test_with_less_noise_it_is_an_estimate() -> None:
    """So the test above would notice noise that does not balance."""
    model, batch = on_the_yardstick()
    q = gaussian()
    for noise in (balanced(4), torch.randn(32, 1, 3)):
        error = Bound(model, batch).at(q, noise).double() - closed_form(q, YARDSTICK.names, {})[0]
        assert error.abs().max() > 0.1


def test_terms_are_its_parts() -> None:
    model, batch = on_the_yardstick()
    q, noise = gaussian(), balanced(6)
    found = Bound(model, batch, WEIGHTS, 2.0).slope(q, noise)
    kl = 0.5 * (q.scale**2 + q.loc**2 - 1 - 2 * q.scale.log()).sum(-1)
    torch.testing.assert_close(found.terms.kl, kl)
    assert tuple(found.terms.log_likelihoods) == YARDSTICK.names
    for name, log_p in found.terms.log_likelihoods.items():
        alone = exact_bound(YARDSTICK, {name: DATA[name]}, q.loc.double(), q.log_variance.double(), beta=0.0)
        torch.testing.assert_close(log_p.double(), alone, rtol=2e-5, atol=1e-4)
    weighted = sum(WEIGHTS[name] * log_p for name, log_p in found.terms.log_likelihoods.items())
    torch.testing.assert_close(found.value, weighted - 2.0 * kl)


def test_modalities_without_a_weight_count_once() -> None:
    model, batch = on_the_yardstick()
    q, noise = gaussian(), balanced(6)
    found, expected = (
        Bound(model, batch, weights).slope(q, noise) for weights in ({"b": 3.0}, {"a": 1, "b": 3, "c": 1})
    )
    assert torch.equal(found.value, expected.value)
    assert torch.equal(found.loc, expected.loc)


# A model whose bound has no closed form.


def nonlinear(observed: bool = False) -> tuple[Any, Batch]:
    """Real numbers, bits and codes in float64, decoded by networks of a hidden layer."""
    parts = Parts()
    model = models.MVAE(parts.make_modalities(), 2)
    return in_float64(model, parts.make_data(), parts.make_observed() if observed else None)


def by_hand(
    model: Any, batch: Batch, loc: Tensor, log_variance: Tensor, noise: Tensor, weights: dict[str, float], beta: float
) -> Tensor:
    """The bound, ``[N]``, by the decoders of the model and densities that are written down here."""
    scale = (log_variance / 2).exp()
    total = -0.5 * beta * (scale**2 + loc**2 - 1 - log_variance).sum(-1)
    for epsilon in noise:
        z = loc + scale * epsilon
        for name, x in batch.data.items():
            out = model.decoders[name](z)
            if name == "real":
                sigma = model.likelihoods["real"].scale
                log_p = -0.5 * ((x - out) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)
            elif name == "bits":
                log_p = x * out.sigmoid().log() + (1 - x) * (1 - out.sigmoid()).log()
            else:
                log_p = out.log_softmax(-1).gather(-1, x.unsqueeze(-1))
            seen = batch.observed[name].double()
            total = total + weights.get(name, 1.0) * seen * log_p.flatten(1).sum(-1) / len(noise)
    return total


SETTINGS = [({}, 1.0), ({"real": 2.0, "bits": 0.5, "codes": 3.0}, 0.4)]


@pytest.mark.parametrize(("weights", "beta"), SETTINGS)
@pytest.mark.parametrize("observed", [False, True], ids=["complete", "missing"])
def test_slope_equals_autograd_by_other_means(weights: dict[str, float], beta: float, observed: bool) -> None:
    model, batch = nonlinear(observed)
    q = gaussian(6, 2, dtype=torch.float64)
    for noise in (torch.randn(1, 6, 2).double(), torch.randn(3, 6, 2).double(), balanced(4, 2, torch.float64)):
        loc, log_variance = q.loc.clone().requires_grad_(), q.log_variance.requires_grad_()
        value = by_hand(model, batch, loc, log_variance, noise, weights, beta)
        slope = Bound(model, batch, weights or None, beta).slope(q, noise)
        torch.testing.assert_close(slope.value, value.detach(), rtol=1e-9, atol=1e-9)
        for found, expected in zip(
            (slope.loc, slope.log_variance), torch.autograd.grad(value.sum(), (loc, log_variance)), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("weights", "beta"), SETTINGS)
def test_slope_equals_finite_differences(weights: dict[str, float], beta: float) -> None:
    model, batch = nonlinear()
    q, noise, step = gaussian(6, 2, dtype=torch.float64), torch.randn(2, 6, 2).double(), 1e-5
    climbed = Bound(model, batch.restrict(["bits", "real"]), weights or None, beta)
    slope = climbed.slope(q, noise)
    for dimension in range(2):
        shift = torch.zeros(6, 2, dtype=torch.float64)
        shift[:, dimension] = step
        for loc, log_variance, found in ((shift, 0 * shift, slope.loc), (0 * shift, shift, slope.log_variance)):
            above, below = (
                climbed.at(Gaussian.from_log_variance(q.loc + sign * loc, q.log_variance + sign * log_variance), noise)
                for sign in (1, -1)
            )
            difference = (above - below).detach() / (2 * step)
            torch.testing.assert_close(found[:, dimension], difference, rtol=1e-6, atol=1e-7)


def test_a_missing_modality_adds_nothing() -> None:
    """A row has the bound of what it has."""
    model, batch = nonlinear(observed=True)
    q, noise = gaussian(6, 2, dtype=torch.float64), balanced(4, 2, torch.float64)
    slope = Bound(model, batch).slope(q, noise)
    for row in range(6):
        names = [name for name in model.names if batch.observed[name][row]]
        alone = Bound(model, batch[row : row + 1].restrict(names))
        found = alone.slope(Gaussian(q.loc[row : row + 1], q.scale[row : row + 1]), noise)
        torch.testing.assert_close(found.value[0], slope.value[row])
        torch.testing.assert_close(found.loc[0], slope.loc[row])
        torch.testing.assert_close(found.log_variance[0], slope.log_variance[row])


def test_kl_from_a_laplace_prior() -> None:
    """Of a mixture model: against a sum over a grid of each dimension."""
    model = models.MMVAE(YARDSTICK.modalities(), 3)
    assert model.prior.raw_scale is not None
    torch.nn.init.normal_(model.prior.raw_scale)
    q = gaussian()
    found = Bound(model, model.prepare(DATA)).slope(q, balanced(6)).terms.kl
    z = torch.linspace(-15, 15, 30_001, dtype=torch.float64)[:, None, None]
    log_q = dist.Normal(q.loc.double(), q.scale.double()).log_prob(z)
    log_p = dist.Laplace(torch.zeros(3).double(), model.prior.scale.detach().double()).log_prob(z)
    expected = ((log_q.exp() * (log_q - log_p)).sum(0) * 1e-3).sum(-1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


# How it is computed.


@pytest.mark.parametrize("most", [1, 10, 16, 4096])
def test_draws_are_decoded_a_few_at_a_time(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which changes no number, and bounds how many are decoded at once."""
    model, batch = nonlinear()
    q, noise = gaussian(6, 2, dtype=torch.float64), torch.randn(5, 6, 2).double()
    whole = Bound(model, batch, {"real": 2.0, "bits": 0.5, "codes": 3.0}, 0.4).slope(q, noise)
    decoded: list[int] = []
    model.decoders["real"].register_forward_hook(lambda _, inputs, __: decoded.append(len(inputs[0])))
    monkeypatch.setattr(bound, "_MOST_DECODED", most)
    parts = Bound(model, batch, {"real": 2.0, "bits": 0.5, "codes": 3.0}, 0.4).slope(q, noise)
    assert sum(decoded) == 30
    assert max(decoded) <= max(6, most)
    at = Bound(model, batch, {"real": 2.0, "bits": 0.5, "codes": 3.0}, 0.4).at(q, noise).detach()
    assert sum(decoded) == 60
    assert max(decoded) <= max(6, most)
    torch.testing.assert_close(at, whole.value, rtol=1e-12, atol=1e-12)
    for found, expected in zip((parts.value, *parts[2:]), (whole.value, *whole[2:]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.terms.log_likelihoods, whole.terms.log_likelihoods, rtol=1e-12, atol=1e-12)


def test_noise_for_all_rows_is_noise_for_each() -> None:
    model, batch = nonlinear()
    q, noise = gaussian(6, 2, dtype=torch.float64), balanced(4, 2, torch.float64)
    shared, own = (Bound(model, batch).slope(q, each) for each in (noise, noise.expand(4, 6, 2)))
    assert torch.equal(shared.value, own.value)
    assert torch.equal(shared.loc, own.loc)


@pytest.mark.parametrize("switched_on", [True, False])
def test_gradients_are_found_whether_they_are_switched_on_or_not(switched_on: bool) -> None:
    model, batch = nonlinear()
    q, noise = gaussian(6, 2, dtype=torch.float64), torch.randn(2, 6, 2).double()
    expected = Bound(model, batch).slope(q, noise)
    learned = Gaussian(q.loc.clone().requires_grad_(), q.scale.clone().requires_grad_())
    with torch.set_grad_enabled(switched_on):
        found = Bound(model, batch).slope(learned, noise)
        assert torch.is_grad_enabled() == switched_on
    assert torch.equal(found.loc, expected.loc)
    assert torch.equal(found.log_variance, expected.log_variance)
    tensors = (found.value, found.loc, found.log_variance, found.terms.kl, *found.terms.log_likelihoods.values())
    assert not any(each.requires_grad for each in tensors)
    assert learned.loc.grad is None


def test_parameters_are_left_alone() -> None:
    """Neither their gradients, whether there are any or not, nor what is frozen."""
    model, batch = nonlinear()
    model.decoders["bits"].requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    given = torch.ones_like(model.decoders["real"][0].weight)
    model.decoders["real"][0].weight.grad = given.clone()
    Bound(model, batch).slope(gaussian(6, 2, dtype=torch.float64), torch.randn(2, 6, 2).double())
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert torch.equal(model.decoders["real"][0].weight.grad, given)
    others = [each for each in model.parameters() if each is not model.decoders["real"][0].weight]
    assert all(parameter.grad is None for parameter in others)


def test_a_bound_that_is_evaluated_has_gradients_for_everything() -> None:
    model, batch = nonlinear()
    loc = gaussian(6, 2, dtype=torch.float64).loc.requires_grad_()
    Bound(model, batch).at(Gaussian(loc, torch.ones_like(loc)), torch.randn(2, 6, 2).double()).sum().backward()
    assert loc.grad is not None
    assert all(parameter.grad is not None for parameter in model.decoders.parameters())


def test_programs_of_the_caller_do_not_see_the_sites_of_the_model() -> None:
    """A trace, a plate for particles and a scale around it change nothing and record nothing."""
    model, batch = nonlinear()
    q, noise = gaussian(6, 2, dtype=torch.float64), torch.randn(2, 6, 2).double()
    climbed = Bound(model, batch)
    expected = climbed.slope(q, noise), climbed.at(q, noise)
    with poutine.trace() as tracer, pyro.plate("particles", 7, dim=-2), poutine.scale(scale=3.0):
        found = climbed.slope(q, noise), climbed.at(q, noise)
    assert [name for name, site in tracer.trace.nodes.items() if site["type"] == "sample"] == ["particles"]
    assert torch.equal(found[0].loc, expected[0].loc)
    assert torch.equal(found[1], expected[1])


def test_weights_are_of_modalities() -> None:
    model, batch = on_the_yardstick()
    with pytest.raises(ValueError, match="weights: 'voice' is no modality"):
        Bound(model, batch, {**WEIGHTS, "voice": 1.0})
    one = batch.restrict(batch.names[:1])
    Bound(model, one, WEIGHTS)  # those that the batch does not hold are none to complain of
