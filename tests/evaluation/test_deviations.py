"""Deviations from a reference group, against the closed forms of the linear-Gaussian yardstick."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from scipy.stats import binom, chi2

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.testing import LinearGaussian
from mmvae.testing.exact_models import exact_model

SIZES = {"a": 3, "b": 4, "c": 5}


@functools.cache
def yardstick() -> LinearGaussian:
    return LinearGaussian.orthogonal(SIZES, 2, seed=3)


@functools.cache
def model() -> Any:
    return exact_model(yardstick(), "MVAE").eval()


def expected_residuals(data: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    others = [other for other in SIZES if other != name]
    exact = yardstick()
    mean = exact.posterior(data, others).mean @ exact.loadings[name].T + exact.offsets[name]
    return data[name].double() - mean


def test_z_scores_are_residuals_from_the_exact_conditional_mean() -> None:
    rows, reference = yardstick().sample(50, seed=1), yardstick().sample(300, seed=2)
    found = mmvae.deviation(model(), rows, reference)
    for name in SIZES:
        residuals = expected_residuals(reference, name)
        expected = (expected_residuals(rows, name) - residuals.mean(0)) / residuals.std(0)
        torch.testing.assert_close(found.z[name].double(), expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.views[name].double(), expected.square().mean(1).sqrt(), rtol=1e-3, atol=1e-3)


def test_z_scores_have_the_exact_predictive_deviation_as_their_unit() -> None:
    """Var[x_m | x_others] = diag(W Λ⁻¹ Wᵀ) + σ²; 4,000 rows know a standard deviation to 1.1 %."""
    exact, reference = yardstick(), yardstick().sample(4000, seed=2)
    rows = exact.sample(50, seed=1)
    found = mmvae.deviation(model(), rows, reference)
    for name, loading in exact.loadings.items():
        others = [other for other in SIZES if other != name]
        variance = torch.eye(2) + torch.stack([exact.precisions[other] for other in others]).sum(0)
        scale = ((loading @ variance.inverse() * loading).sum(1) + exact.scales[name] ** 2).sqrt()
        expected = expected_residuals(rows, name) / scale
        torch.testing.assert_close(found.z[name].double(), expected, rtol=0.06, atol=0.1)


def test_distances_are_those_of_the_exact_posterior_means() -> None:
    """Means of the exact posterior have the covariance I - Λ⁻¹."""
    exact = yardstick()
    rows, reference = exact.sample(40, seed=1), exact.sample(4000, seed=2)
    for subset in ("a", ("a", "c"), None):
        members = list(SIZES) if subset is None else [subset] if isinstance(subset, str) else list(subset)
        found = mmvae.deviation(model(), rows, reference, subset=subset)
        precision = torch.eye(2) + torch.stack([exact.precisions[name] for name in members]).sum(0)
        means = exact.posterior(rows, members).mean
        expected = (means @ (torch.eye(2) - precision.inverse()).inverse() * means).sum(1)
        torch.testing.assert_close(found.latent.double().square(), expected, rtol=0.1, atol=0.02)
        torch.testing.assert_close(found.p_value.double(), torch.from_numpy(chi2.sf(expected, 2)), rtol=0, atol=0.03)
        assert found.columns.all()


def test_p_values_hold_for_small_reference_groups() -> None:
    """Of 8 rows a chi-squared distribution would call 23 % of the group deviant at the level of 5 %."""
    exact, below = yardstick(), 0
    for seed in range(100):
        sample = exact.sample(12, seed=10 + seed)
        reference, rows = ({name: value[part] for name, value in sample.items()} for part in (slice(8), slice(8, 12)))
        below += int((mmvae.deviation(model(), rows, reference).p_value < 0.05).sum())
    assert binom.ppf(0.001, 400, 0.05) <= below <= binom.ppf(0.999, 400, 0.05) * 1.3  # rows share a reference


def test_a_modality_that_does_not_fit_the_others_is_found() -> None:
    exact, reference = yardstick(), yardstick().sample(500, seed=2)
    rows = exact.sample(200, seed=1)
    rows["b"][:100] += 4 * exact.scales["b"]
    views = mmvae.deviation(model(), rows, reference).views
    assert (views["b"][:100] > views["b"][100:].quantile(0.99)).all()


def test_rows_that_lack_something_are_nan_there() -> None:
    reference, rows = yardstick().sample(100, seed=2), yardstick().sample(6, seed=1)
    observed = {
        "a": torch.tensor([1, 0, 1, 1, 1, 1]).bool(),
        "b": torch.tensor([1, 1, 0, 1, 1, 1]).bool(),
        "c": torch.tensor([1, 1, 0, 1, 1, 1]).bool(),
    }
    found = mmvae.deviation(model(), Batch(rows, observed), reference, subset="b")
    whole = mmvae.deviation(model(), rows, reference, subset="b")
    assert torch.equal(found.latent.isfinite(), observed["b"])
    assert torch.equal(found.z["a"].isfinite().all(1), observed["a"] & observed["b"])  # row 2 has nothing else
    assert torch.equal(found.z["b"].isfinite().all(1), observed["b"])
    torch.testing.assert_close(found.z["a"][3:], whole.z["a"][3:])
    assert found.views["a"][1].isnan()
    some = Batch(reference, {"a": torch.arange(100) < 60})
    assert mmvae.deviation(model(), rows, some).z["a"].isfinite().all()


def test_single_numbers_that_are_missing_are_nan_alone() -> None:
    torch.manual_seed(0)
    modalities = [Modality(name, (3,), likelihoods.Normal(), missing="cells") for name in "ab"]
    vae = models.MVAE(modalities, latent_dim=1)
    reference = {name: 5 * torch.randn(40, 3) for name in "ab"}
    rows = {name: value[:4].clone() for name, value in reference.items()}
    rows["a"][1, 2] = torch.nan
    reference["a"][::3, 0] = torch.nan
    found = mmvae.deviation(vae, rows, reference)
    expected = torch.ones(4, 3, dtype=torch.bool)
    expected[1, 2] = False
    assert torch.equal(found.z["a"].isfinite(), expected)
    assert found.views["a"].isfinite().all()


def test_columns_that_nothing_is_known_of_are_left_out() -> None:
    torch.manual_seed(0)
    vae = models.MVAE([Modality(name, (3,), likelihoods.Normal()) for name in "ab"], latent_dim=3)
    with torch.no_grad():
        for name in "ab":
            linear = vae.experts.heads[name].linear
            linear.weight.zero_()
            linear.bias.zero_()
            linear.weight[0] = torch.randn(linear.in_features)
    data = {name: torch.randn(50, 3) for name in "ab"}
    found = mmvae.deviation(vae, data, data)
    assert found.columns.tolist() == [True, False, False]
    means = mmvae.infer(vae, data).mean[:, 0].double()
    torch.testing.assert_close(
        found.latent.double(), ((means - means.mean()) / means.std()).abs(), rtol=1e-4, atol=1e-4
    )


def test_codes_have_no_z_scores_and_covariates_are_known() -> None:
    torch.manual_seed(0)
    modalities = [Modality("a", (3,), likelihoods.Normal()), Modality("codes", (4,), likelihoods.Categorical(5))]
    vae = models.MVAE(modalities, latent_dim=1, covariates={"site": 2})
    data = {"a": 9 * torch.randn(20, 3), "codes": torch.randint(5, (20, 4))}
    site = {"site": torch.arange(20) % 2}
    found = mmvae.deviation(vae, data, Batch(data, covariates=site), covariates=site)
    assert list(found.z) == ["a"]
    assert found.z["a"].isfinite().all()


def test_references_that_are_too_small_are_refused() -> None:
    rows = yardstick().sample(5)
    few = {name: value[:3] for name, value in yardstick().sample(5, seed=1).items()}
    with pytest.raises(ValueError, match=r"reference: 3 rows are too few for 2 latent columns; pass at least 4"):
        mmvae.deviation(model(), rows, few)
    alike = {name: value[:1].expand(9, -1) for name, value in few.items()}
    with pytest.raises(ValueError, match="do not differ in any latent column"):
        mmvae.deviation(model(), rows, alike)
    with pytest.raises(TypeError, match=r"model: .* does not generate"):
        mmvae.deviation(models.LateFusion({"a": mmvae.nn.ViT((1, 4, 4), 2, 4, depth=1, heads=2)}, 2), rows, rows)
