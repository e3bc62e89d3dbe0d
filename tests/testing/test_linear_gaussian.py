"""The yardstick itself, against numerical integration and against what is known without it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from mmvae.subsets import powerset
from mmvae.testing import LinearGaussian

SIZES = {"a": 3, "b": 2, "c": 4}


def grid_log_likelihood(model: LinearGaussian, data: dict[str, torch.Tensor], names: tuple[str, ...]) -> torch.Tensor:
    """log p(x_S) by a sum over a grid of the one latent dimension."""
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None]
    log_joint = Normal(0.0, 1.0).log_prob(z).sum(-1)
    for name in names:
        mean = z @ model.loadings[name].T + model.offsets[name]  # [G, P]
        log_joint = log_joint + Normal(mean, model.scales[name]).log_prob(data[name].double()).sum(-1)
    return log_joint.logsumexp(0) + math.log(18 / 20_000)


def test_likelihoods_are_integrals() -> None:
    model = LinearGaussian.random(SIZES, latent_dim=1, seed=3)
    data = model.sample(1)
    for names in powerset(model.names):
        exact = model.log_likelihood(data, names)
        torch.testing.assert_close(exact[0], grid_log_likelihood(model, data, names), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [LinearGaussian.random, LinearGaussian.orthogonal])
def test_bayes_rule(make) -> None:  # type: ignore[no-untyped-def]
    """log p(x_S) = log p(z) + Σ log p(x_m | z) - log p(z | x_S), at any z."""
    model = make({"a": 3, "b": 5}, 2)
    data = model.sample(4)
    z = torch.randn(4, 2, dtype=torch.float64)
    for names in powerset(model.names):
        log_joint = Normal(0.0, 1.0).log_prob(z).sum(-1)
        for name in names:
            mean = z @ model.loadings[name].T + model.offsets[name]
            log_joint = log_joint + Normal(mean, model.scales[name]).log_prob(data[name].double()).sum(-1)
        torch.testing.assert_close(
            log_joint - model.posterior(data, names).log_prob(z), model.log_likelihood(data, names)
        )


def test_conditional_likelihoods_chain() -> None:
    model = LinearGaussian.random(SIZES, 2)
    data = model.sample(4)
    chain = model.log_likelihood(data, "b") + model.conditional_log_likelihood(data, "a", "b")
    chain = chain + model.conditional_log_likelihood(data, ["a", "c"], {"a", "b"})
    torch.testing.assert_close(chain, model.log_likelihood(data))


def test_mean_field_is_the_best_diagonal_gaussian() -> None:
    """By gradients of the ELBO in location and scale, and by the exact case."""
    model = LinearGaussian.random({"a": 3, "b": 2}, 3)
    data = model.sample(2)
    best = model.mean_field(data).base_dist
    loc, log_scale = best.loc.clone().requires_grad_(), best.scale.log().clone().requires_grad_()
    diagonal = torch.distributions.MultivariateNormal(loc, scale_tril=log_scale.exp().diag_embed())
    elbo = model.log_likelihood(data) - torch.distributions.kl_divergence(diagonal, model.posterior(data))
    torch.testing.assert_close(elbo.detach(), model.mean_field_elbo(data))
    assert (model.mean_field_elbo(data) < model.log_likelihood(data)).all()
    for gradient in torch.autograd.grad(elbo.sum(), [loc, log_scale]):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)
    exact = LinearGaussian.orthogonal({"a": 3, "b": 4}, 3)
    data = exact.sample(2)
    torch.testing.assert_close(exact.mean_field_elbo(data), exact.log_likelihood(data))


def test_messages_times_prior_are_the_posterior() -> None:
    model = LinearGaussian.orthogonal(SIZES, 2)
    data = model.sample(4)
    z = torch.randn(4, 2, dtype=torch.float64)
    for names in powerset(model.names):
        product = Normal(0.0, 1.0).log_prob(z).sum(-1) + sum(model.message(data, name).log_prob(z) for name in names)
        other = torch.zeros_like(z)
        product_there = Normal(0.0, 1.0).log_prob(other).sum(-1)
        product_there = product_there + sum(model.message(data, name).log_prob(other) for name in names)
        exact = model.posterior(data, names)
        torch.testing.assert_close(product - product_there, exact.log_prob(z) - exact.log_prob(other))


def test_samples_have_the_moments_of_the_model() -> None:
    model = LinearGaussian.random({"a": 3}, 2)
    x = model.sample(50_000)["a"].double()
    covariance = model.loadings["a"] @ model.loadings["a"].T + model.scales["a"] ** 2 * torch.eye(3)
    error = (covariance.diagonal() / 50_000).sqrt()
    assert ((x.mean(0) - model.offsets["a"]).abs() < 5 * error).all()
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0.05, atol=0.05)


def test_it_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    LinearGaussian.orthogonal(SIZES, 2).sample(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_correlated_posteriors_have_no_messages() -> None:
    model = LinearGaussian.random(SIZES, 2)
    with pytest.raises(ValueError, match=r"a: .*orthogonal"):
        model.message(model.sample(1), "a")
    with pytest.raises(ValueError, match="b: 3 orthogonal columns"):
        LinearGaussian.orthogonal(SIZES, 3)
