"""The models on the yardstick: exact posteriors, bounds below the likelihood, estimates that converge."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from mmvae.distributions import MixtureOfExperts
from mmvae.subsets import powerset
from mmvae.testing import LinearGaussian, exact_model

KINDS = ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE", "TELBO", "JNF"]
YARDSTICK = LinearGaussian.orthogonal({"a": 3, "b": 4, "c": 2}, latent_dim=2, seed=1)
DATA = YARDSTICK.sample(8)
SUBSETS = powerset(YARDSTICK.names)

EXACT = {
    "MVAE": SUBSETS,
    "MMVAE": [("a",), ("b",), ("c",)],
    "MoPoE": [("a",), ("b",), ("c",)],
    "JMVAE": [("a",), ("b",), ("c",), ("a", "b", "c")],
    "MVTCAE": [("a", "b", "c")],
    "TELBO": SUBSETS,
    "JNF": SUBSETS,
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "JNF"])  # moments of a flow are estimates
def test_posteriors_are_exact_where_the_family_allows(kind: str) -> None:
    model = exact_model(YARDSTICK, kind)
    for subset in EXACT[kind]:
        latents, exact = model.infer(DATA, subset), YARDSTICK.posterior(DATA, subset)
        torch.testing.assert_close(latents.mean.double(), exact.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(latents.scale.square().double(), exact.variance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_posteriors_make_bounds_tight(kind: str) -> None:
    """Every importance weight is then the likelihood itself."""
    model = exact_model(YARDSTICK, kind)
    for subset in EXACT[kind]:
        weights = model.log_weights(DATA, subset, num_samples=4).double()
        torch.testing.assert_close(weights, YARDSTICK.log_likelihood(DATA, subset).expand(4, -1), rtol=1e-4, atol=1e-3)


def test_mixture_of_experts_in_closed_form() -> None:
    model = exact_model(YARDSTICK, "MMVAE")
    posterior = model.infer(DATA).distribution
    assert isinstance(posterior, MixtureOfExperts)
    z = torch.randn(8, 2)
    by_expert = torch.stack([YARDSTICK.posterior(DATA, name).log_prob(z.double()) for name in YARDSTICK.names])
    expected = by_expert.logsumexp(0) - math.log(3)
    torch.testing.assert_close(posterior.log_prob(z).double(), expected, rtol=1e-4, atol=1e-4)


def test_mixture_of_products_in_closed_form() -> None:
    """Each component is the exact posterior of its own subset."""
    model = exact_model(YARDSTICK, "MoPoE")
    for subset in (("a", "b", "c"), ("a", "c")):
        posterior = model.infer(DATA, subset).distribution
        members = powerset(subset)
        z = torch.randn(8, 2)
        by_subset = torch.stack([YARDSTICK.posterior(DATA, each).log_prob(z.double()) for each in members])
        expected = by_subset.logsumexp(0) - math.log(len(members))
        torch.testing.assert_close(posterior.log_prob(z).double(), expected, rtol=1e-4, atol=1e-4)


def test_products_of_unimodal_posteriors_in_closed_form() -> None:
    """Between one modality and all, JMVAE multiplies posteriors, each of which has counted the prior once."""
    model = exact_model(YARDSTICK, "JMVAE")
    latents = model.infer(DATA, ["a", "b"])
    unimodal = [YARDSTICK.mean_field(DATA, name).base_dist for name in ("a", "b")]
    precision = sum((each.scale**-2 for each in unimodal), start=torch.zeros(2))
    mean = sum((each.loc * each.scale**-2 for each in unimodal), start=torch.zeros(2)) / precision
    torch.testing.assert_close(latents.mean.double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(latents.scale.double() ** -2, precision.expand(8, 2), rtol=1e-4, atol=1e-5)


def estimate(model: Any, subset: Any, num_samples: int) -> tuple[Tensor, Tensor]:
    """log p(x_S) and its standard error (delta method), each ``[N]``."""
    log_w = model.log_weights(DATA, subset, num_samples).double()
    relative = (log_w - log_w.logsumexp(0) + math.log(num_samples)).exp()
    return log_w.logsumexp(0) - math.log(num_samples), relative.std(0) / num_samples**0.5


@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_converges_to_the_exact_one(kind: str) -> None:
    """For every subset, exact posterior or not: to within five standard errors, which shrink."""
    model = exact_model(YARDSTICK, kind)
    for subset in SUBSETS:
        exact = YARDSTICK.log_likelihood(DATA, subset)
        errors = []
        for num_samples in (100, 10_000):
            estimated, error = estimate(model, subset, num_samples)
            if num_samples > 100:
                assert ((estimated - exact).abs() <= 5 * error + 2e-4).all(), subset
            errors.append((estimated - exact).abs().mean())
        assert errors[1] <= errors[0] + 2e-4
        assert errors[1] < 0.02


def test_the_estimator_of_one_expert_is_wrong() -> None:
    """All draws from one expert, divided by the density of the mixture, miss the likelihood by far more than noise.

    So the test above would notice.
    """
    model = exact_model(YARDSTICK, "MMVAE")
    exact = YARDSTICK.log_likelihood(DATA)
    posterior = model.infer(DATA).distribution
    assert isinstance(posterior, MixtureOfExperts)
    z = posterior.component_rsample(10_000)[:, 0].detach()  # [K, N, D], of the first expert
    log_w = Normal(0.0, 1.0).log_prob(z).sum(-1) - posterior.log_prob(z).detach()
    for name, distribution in model.decode(z).items():
        log_w = log_w + distribution.log_prob(DATA[name]).detach()
    wrong = log_w.double().logsumexp(0) - math.log(10_000)
    relative = (log_w.double() - wrong).exp()
    error = relative.std(0) / 100
    assert ((wrong - exact).abs() > 20 * error).float().mean() > 0.5
    assert (wrong - exact).abs().mean() > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_every_bound_is_below_the_exact_likelihood(kind: str) -> None:
    """The ELBO of every subset, and the bound that training reports, to within five standard errors."""
    model = exact_model(YARDSTICK, kind)
    repeated = {name: torch.cat([value] * 512) for name, value in DATA.items()}
    with torch.no_grad():
        for subset in SUBSETS:
            elbo = model.elbo(repeated, subset).double().reshape(512, 8)
            exact = YARDSTICK.log_likelihood(DATA, subset)
            assert (elbo.mean(0) <= exact + 5 * elbo.std(0) / 512**0.5 + 1e-3).all(), subset
        bounds = torch.stack([model.loss(repeated).terms["elbo"] for _ in range(4)]).double()
    assert bounds.mean() <= YARDSTICK.log_likelihood(DATA).mean() + 5 * bounds.std() / 2 + 1e-3


def test_missing_rows_have_the_likelihood_of_what_they_have() -> None:
    model = exact_model(YARDSTICK, "MVAE")
    observed = {"a": torch.tensor([True, False] * 4), "b": torch.tensor([True, True, False, True] * 2)}
    found = model.log_likelihood(DATA, observed=observed, num_samples=2).double()
    for row in range(8):
        subset = [name for name in YARDSTICK.names if name not in observed or observed[name][row]]
        exact = YARDSTICK.log_likelihood(DATA, subset)[row]
        torch.testing.assert_close(found[row], exact, rtol=1e-4, atol=1e-3)


def test_only_orthogonal_yardsticks_have_exact_models() -> None:
    with pytest.raises(ValueError, match="orthogonal"):
        exact_model(LinearGaussian.random({"a": 3, "b": 2}, 2), "MVAE")
