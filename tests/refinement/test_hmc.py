"""Draws from the true posterior, where it is known and far from any diagonal Gaussian."""

from __future__ import annotations

from typing import Any

import jaxtyping
import pyro
import pyro.distributions as dist
import pytest
import torch
from objectives.reference import record
from torch import Tensor

import mmvae
from mmvae import Latents, models
from mmvae.distributions import MixtureOfExperts
from mmvae.refinement import HMC
from mmvae.testing import LinearGaussian


def numbers(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Given "a", the two latents are correlated by -0.67: mean field would have variances of 0.33 where they are 0.60.
YARDSTICK = LinearGaussian(
    {"a": numbers([1.0, 1.0]), "b": numbers([0.5, -0.2], [0.1, 0.3])},
    {"a": numbers(0.3), "b": numbers(-0.2, 1.0)},
    {"a": 0.7, "b": 1.0},
)
DATA = YARDSTICK.sample(2, seed=3)


def make() -> Any:
    """An encoder that knows nothing: the chains start from a wide Gaussian."""
    torch.manual_seed(0)
    return models.MVAE(YARDSTICK.modalities(), 2)


@pytest.fixture(scope="module")
def latents() -> Latents:
    """Two data, a batch of each, from "a" alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    with torch.random.fork_rng(), pyro.validation_enabled(False):
        return mmvae.infer(make(), DATA, "a", refine=HMC(90, warmup=60), batch_size=1)


@pytest.mark.slow
def test_moments_are_those_of_the_posterior(latents: Latents) -> None:
    """To within four standard errors of as many independent draws as the chains are worth."""
    exact = YARDSTICK.posterior(DATA, "a")
    effective = latents.diagnostics["effective_sample_size"].double()
    assert (effective > 20).all()
    error = (latents.mean - exact.mean).abs() / (exact.variance / effective).sqrt()
    assert (error < 4).all()
    ratio = latents.scale.square() / exact.variance
    assert ((ratio - 1).abs() < 4 * (2 / effective).sqrt()).all()
    assert (ratio.mean() - 1).abs() < 0.25  # each has the same variance, so together they are worth four times as much
    assert (latents.scale.square() > 1.3 * YARDSTICK.mean_field(DATA, "a").variance).all()


@pytest.mark.slow
def test_draws_are_correlated_as_they_should(latents: Latents) -> None:
    draws = latents.sample(2000)
    for row, exact in enumerate(YARDSTICK.posterior(DATA, "a").covariance_matrix):
        correlation = torch.corrcoef(draws[:, row].T)[0, 1]
        assert (correlation - exact[0, 1] / (exact[0, 0] * exact[1, 1]).sqrt()).abs() < 0.12


@pytest.mark.slow
def test_what_comes_back(latents: Latents) -> None:
    assert latents.subset == ("a",)
    assert latents.elbo_trace is None
    assert set(latents.diagnostics) == {"r_hat", "effective_sample_size"}
    assert all(each.shape == (2, 2) for each in latents.diagnostics.values())
    assert (latents.diagnostics["r_hat"] - 1).abs().max() < 0.1
    assert isinstance(latents.distribution, dist.Empirical)
    assert latents.distribution.log_weights.shape == (2, 360)
    assert latents.mean.shape == latents.scale.shape == latents.sample().shape == (2, 2)
    assert latents.sample(5).shape == (5, 2, 2)
    assert not latents.mean.requires_grad


def test_chance_is_in_the_seed_alone() -> None:
    """Of each datum by itself, so batches and neighbours do not matter; global generators are left as they were."""
    model, kept = make(), {"steps": 4, "warmup": 3}
    before = torch.get_rng_state()
    first = mmvae.infer(model, DATA, refine=HMC(**kept))
    again = mmvae.infer(model, DATA, refine=HMC(**kept), batch_size=1)
    other = mmvae.infer(model, DATA, refine=HMC(seed=1, **kept))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(again.mean, first.mean)
    torch.testing.assert_close(again.diagnostics["r_hat"], first.diagnostics["r_hat"])
    assert not torch.allclose(other.mean, first.mean)


def test_nothing_of_the_model_is_changed() -> None:
    model = make()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    HMC(4, warmup=1)(model, model.prepare(DATA)[:1])
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert len(pyro.get_param_store()) == 0


def visited(model: Any, chains: int, start: Any, batch: Any) -> Tensor:
    """All latents that the program is asked about, the first of each chain among them."""
    drawn = record(model)
    HMC(4, warmup=0, chains=chains, max_tree_depth=1)(model, batch, start)
    return torch.cat([each.z for each in drawn]).unique(dim=0)


def test_chains_start_at_the_posterior_and_at_the_prior_in_turn() -> None:
    """At draws of the given posterior, of twice its scale, each at one of its own; every second at the prior."""
    model = make()
    batch = model.prepare(DATA)[:1]
    found = visited(model, 12, dist.Normal(torch.full((1, 2), 50.0), 1e-3).to_event(1), batch)
    near = found[(found - 50).abs().max(-1).values < 0.01]
    assert len(near) == 6
    assert 1.8 < ((near - 50) / 1e-3).square().mean() < 9
    assert len(found[found.abs().max(-1).values < 5]) >= 6


def test_chains_start_in_every_component_of_a_mixture_that_a_row_has() -> None:
    model = make()
    batch = model.prepare(DATA)
    loc = torch.tensor([50.0, -50.0, 80.0])[:, None, None].expand(3, 2, 2)
    mixture = MixtureOfExperts(loc, torch.full((3, 2, 2), 1e-3), torch.tensor([[1.0, 1], [1, 0], [1, 1]]))
    for row, expected in ((0, {50, -50, 80}), (1, {50, 80})):
        part = slice(row, row + 1)
        one = MixtureOfExperts(mixture.loc[:, part], mixture.scale[:, part], mixture.weights[:, part])
        found = visited(model, 4, one, batch[part])
        rounded = {round(float(z[0])) for z in found if (z - z.round()).abs().max() < 0.01}
        assert expected <= rounded
        assert not ({50, -50, 80} - expected) & rounded


def test_chains_and_rows_have_draws_of_their_own() -> None:
    """Equal posteriors and priors of two rows do not make their chains begin or move alike."""
    model = make()
    batch = model.prepare(DATA)
    start = dist.Normal(torch.zeros(2, 2), torch.ones(2, 2)).to_event(1)
    latents = HMC(4, warmup=0)(model, batch, start)
    draws = latents.distribution.enumerate_support().movedim(1, 0)  # type: ignore[attr-defined]
    draws = draws.reshape(-1, 2)
    assert len(draws.unique(dim=0)) > 20  # of 32: a draw that is refused repeats the one before


def test_a_row_is_drawn_given_what_it_has() -> None:
    """Whatever stands under its false masks: as from a batch that does not hold these modalities."""
    model, observed = make(), {"b": torch.tensor([True, False])}
    noisy = {**DATA, "b": torch.where(observed["b"][:, None], DATA["b"], 1e30)}
    refiner = HMC(4, warmup=4)
    found = [mmvae.infer(model, each, observed=observed, refine=refiner) for each in (DATA, noisy)]
    assert torch.equal(found[0].mean, found[1].mean)
    alone = mmvae.infer(model, {"a": DATA["a"][1:]}, refine=refiner)
    torch.testing.assert_close(found[0].mean[1:], alone.mean, rtol=1e-3, atol=1e-3)
    whole = mmvae.infer(model, {name: value[:1] for name, value in DATA.items()}, refine=refiner)
    torch.testing.assert_close(found[0].mean[:1], whole.mean, rtol=1e-3, atol=1e-3)


def test_trees_are_no_deeper_than_allowed() -> None:
    """Each draw costs at most 2 ** depth steps, each of which runs the program once."""
    model = make()
    batch = model.prepare(DATA)[:1]
    runs = []
    for depth in (1, 6):
        drawn = record(model)
        HMC(6, warmup=0, max_tree_depth=depth, seed=3)(model, batch)
        runs.append(len(drawn))
    draws = 4 * 6
    assert runs[0] <= draws * 2 + 120  # and what each chain runs to find its first step size
    assert runs[1] > runs[0]
