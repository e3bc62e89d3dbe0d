"""Linear-Gaussian models with private latents and with covariates: closed forms, and the models of the library."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import mmvae
from mmvae import models, priors
from mmvae.refinement import Gradient
from mmvae.subsets import powerset
from mmvae.testing import LinearGaussian, exact_model

SIZES = {"a": 5, "b": 6, "c": 4}
PRIVATE = {"a": 1, "c": 2}
EXACT = LinearGaussian.orthogonal(SIZES, 2, seed=1, private_dim=PRIVATE)
DATA = EXACT.sample(6)
SUBSETS = powerset(EXACT.names)


def by_hand(yardstick: LinearGaussian, data: dict[str, Tensor], subset: Any, covariates: Any = None) -> Any:
    """Mean and covariance of (z, x_S) jointly, and from them the posterior and the likelihood."""
    loading = torch.cat([yardstick.loadings[name] for name in subset])
    noise = torch.cat([torch.full((len(yardstick.offsets[name]),), yardstick.scales[name] ** 2) for name in subset])
    centre = torch.zeros(len(data[subset[0]]), yardstick.latent_dim, dtype=torch.float64)
    offset = torch.cat([yardstick.offsets[name] for name in subset]).expand(len(centre), -1)
    if covariates is not None:
        c = torch.stack([covariates[name].double() for name in yardstick.covariates], 1)
        centre = torch.einsum("nc,dc->nd", c, yardstick.shift)
        offset = offset + torch.cat([torch.einsum("nc,pc->np", c, yardstick.effects[name]) for name in subset], 1)
    x = torch.cat([data[name].double() for name in subset], 1)
    mean = offset + centre @ loading.T
    covariance = loading @ loading.T + noise.double().diag()
    gain = torch.linalg.solve(covariance, loading).T  # [D, P]
    posterior_covariance = torch.eye(yardstick.latent_dim, dtype=torch.float64) - gain @ loading
    return (
        centre + (x - mean) @ gain.T,
        posterior_covariance,
        MultivariateNormal(mean, covariance).log_prob(x),
    )


@pytest.mark.parametrize("subset", SUBSETS, ids=" ".join)
@pytest.mark.parametrize("num_covariates", [0, 2])
def test_answers_are_those_of_joint_gaussians(subset: tuple[str, ...], num_covariates: int) -> None:
    yardstick = LinearGaussian.random(SIZES, 2, private_dim=PRIVATE, covariates=num_covariates)
    covariates = yardstick.sample_covariates(5) if num_covariates else None
    data = yardstick.sample(5, covariates=covariates)
    mean, covariance, log_p = by_hand(yardstick, data, subset, covariates)
    posterior = yardstick.posterior(data, subset, covariates)
    torch.testing.assert_close(posterior.mean, mean)
    torch.testing.assert_close(posterior.covariance_matrix[0], covariance)
    torch.testing.assert_close(yardstick.log_likelihood(data, subset, covariates), log_p)


def test_loadings_are_zero_at_the_private_columns_of_others() -> None:
    assert EXACT.latent_dim == 5
    for name, loading in EXACT.loadings.items():
        others = [column for column in range(5) if column not in EXACT.layout.own(name)]
        assert (loading[:, others] == 0).all()
        assert (loading[:, EXACT.layout.own(name)] != 0).any(0).all()


def test_draws_have_the_moments_of_the_model() -> None:
    yardstick = LinearGaussian.random(SIZES, 2, private_dim=1, covariates=1)
    covariates = {"c0": torch.full((40_000,), 1.5)}
    x = yardstick.sample(40_000, covariates=covariates)["a"].double()
    loading = yardstick.loadings["a"]
    expected = yardstick.offsets["a"] + 1.5 * (yardstick.effects["a"] + loading @ yardstick.shift)[:, 0]
    covariance = loading @ loading.T + yardstick.scales["a"] ** 2 * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(x.mean(0), expected, atol=0.05, rtol=0)
    torch.testing.assert_close(x.T.cov(), covariance, atol=0.15, rtol=0)


@pytest.mark.parametrize("subset", SUBSETS, ids=" ".join)
@pytest.mark.parametrize("kind", ["MVAE", "DMVAE"])
def test_private_posteriors_are_exact(kind: Any, subset: tuple[str, ...]) -> None:
    """For every subset: shared columns, own ones, and those of modalities that are missing."""
    exact = EXACT.posterior(DATA, subset)
    latents = exact_model(EXACT, kind).infer({name: DATA[name] for name in subset})
    torch.testing.assert_close(latents.mean.double(), exact.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents.scale.double(), exact.stddev, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents.shared.mean.double(), exact.mean[:, :2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["MVTCAE", "JMVAE"])
def test_joint_posteriors_with_private_latents_are_exact(kind: Any) -> None:
    exact, latents = EXACT.posterior(DATA), exact_model(EXACT, kind).infer(DATA)
    torch.testing.assert_close(latents.mean.double(), exact.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents.scale.double(), exact.stddev, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["MMVAE", "MoPoE"])
def test_components_share_exact_private_columns(kind: Any) -> None:
    """Shared columns are mixed; private ones follow their owner's exact posterior in every component."""
    model = exact_model(EXACT, kind)
    mixture: Any = model.infer(DATA).distribution
    for name in EXACT.layout.private:
        columns = EXACT.layout.columns(name)
        exact = EXACT.posterior(DATA, name)
        for component in range(mixture.num_components):
            torch.testing.assert_close(
                mixture.loc[component, :, columns].double(), exact.mean[:, columns], atol=1e-4, rtol=1e-4
            )
    subsets = [(name,) for name in EXACT.names] if kind == "MMVAE" else SUBSETS
    for component, subset in enumerate(subsets):
        exact = EXACT.posterior(DATA, subset)
        torch.testing.assert_close(mixture.loc[component, :, :2].double(), exact.mean[:, :2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE", "DMVAE"])
def test_likelihoods_with_private_latents_converge(kind: Any) -> None:
    """To the exact one, from below; exact posteriors give it with a single draw."""
    model = exact_model(EXACT, kind)
    torch.manual_seed(0)
    for subset in (("a",), ("a", "c"), EXACT.names):
        exact = EXACT.log_likelihood(DATA, subset)
        found = model.log_likelihood(DATA, subset, num_samples=20_000).double()
        torch.testing.assert_close(found, exact, atol=0.1, rtol=0)
        with torch.no_grad():
            bound = model.elbo(DATA, subset, num_samples=20_000).double()
        assert bound.mean() < exact.mean() + 0.02
    if kind in ("MVAE", "DMVAE"):
        alone = model.log_likelihood(DATA, num_samples=1).double()
        torch.testing.assert_close(alone, EXACT.log_likelihood(DATA), atol=1e-3, rtol=1e-4)


# Covariates.


class LinearPrior(priors.Prior):
    """N(A c, I), of a yardstick."""

    def __init__(self, yardstick: LinearGaussian) -> None:
        super().__init__()
        self.yardstick = yardstick

    def build(self) -> None:
        self.one = torch.ones(self.latent_dim)

    def forward(self, context: Tensor | None = None) -> Any:
        assert context is not None
        assert self.yardstick.shift is not None
        return dist.Normal(context @ self.yardstick.shift.float().T, self.one).to_event(1)


CONDITIONAL = LinearGaussian.random({"a": 4, "b": 3}, 2, seed=2, covariates=2)
COVARIATES = CONDITIONAL.sample_covariates(8)
CONDITIONAL_DATA = CONDITIONAL.sample(8, covariates=COVARIATES)


def conditional(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(models, kind)(
        CONDITIONAL.modalities(), 2, covariates=CONDITIONAL.covariates, prior=LinearPrior(CONDITIONAL), **options
    ).eval()


@pytest.mark.parametrize("kind", ["MVAE", "MoPoE", "MVTCAE"])
@pytest.mark.parametrize("subset", [("a",), ("a", "b")], ids=" ".join)
def test_likelihoods_given_covariates_converge(kind: str, subset: tuple[str, ...]) -> None:
    model = conditional(kind)
    covariates = CONDITIONAL.sample_covariates(512, seed=7)
    data = CONDITIONAL.sample(512, seed=7, covariates=covariates)
    learner = torch.optim.Adam(model.experts.parameters(), lr=0.01)
    for _ in range(150):  # decoders and prior are the true ones; proposals must not be far off
        learner.zero_grad()
        model.loss(data, covariates=covariates).total.backward()
        learner.step()
    exact = CONDITIONAL.log_likelihood(CONDITIONAL_DATA, subset, COVARIATES)
    found = model.log_likelihood(CONDITIONAL_DATA, subset, num_samples=20_000, covariates=COVARIATES).double()
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0)
    with torch.no_grad():
        bound = model.elbo(CONDITIONAL_DATA, subset, num_samples=20_000, covariates=COVARIATES).double()
    assert (bound < exact + 0.05).all()
    others = CONDITIONAL.log_likelihood(CONDITIONAL_DATA, subset, CONDITIONAL.sample_covariates(8, seed=5))
    assert ((others - exact).abs() > 1).any()  # covariates matter here


def test_refinement_given_covariates_reaches_the_exact_mean() -> None:
    """And the conditional variances 1 / Λ_dd: the best diagonal Gaussian."""
    latents = mmvae.infer(
        conditional("MVAE"), CONDITIONAL_DATA, refine=Gradient(400), covariates=COVARIATES, progress=False
    )
    exact = CONDITIONAL.posterior(CONDITIONAL_DATA, covariates=COVARIATES)
    torch.testing.assert_close(latents.mean.double(), exact.mean, atol=2e-2, rtol=0)
    variance = exact.precision_matrix.diagonal(dim1=-2, dim2=-1).reciprocal()
    torch.testing.assert_close(latents.scale.double().square(), variance, atol=2e-2, rtol=2e-2)
    assert latents.covariates.keys() == COVARIATES.keys()
