"""Priors that are fitted to trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mmvae
from mmvae import Modality, likelihoods, models, priors
from mmvae.distributions import MixtureOfExperts

KINDS: dict[str, dict[str, Any]] = {
    "MVAE": {},
    "MMVAE": {"num_samples": 1, "family": "normal"},
    "MoPoE": {"private_dim": 1},
    "JMVAE": {"trunk_width": 8, "hidden": 8},
}
GENERATOR = torch.Generator().manual_seed(0)
CLUSTER = torch.randint(0, 3, (600,), generator=GENERATOR)
CENTRES = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
HIDDEN = CENTRES[CLUSTER] + 0.3 * torch.randn(600, 2, generator=GENERATOR)
DATA = {
    name: HIDDEN @ torch.randn(2, 4, generator=GENERATOR) + 0.2 * torch.randn(600, 4, generator=GENERATOR)
    for name in "ab"
}


def trained(kind: str) -> Any:
    torch.manual_seed(0)
    modalities = [Modality(name, (4,), likelihoods.Normal(0.2)) for name in "ab"]
    vae = getattr(models, kind)(modalities, 2, **KINDS[kind])
    mmvae.fit(vae, DATA, epochs=4, progress=False)
    return vae.eval()


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "prior", [priors.GaussianMixture(3), priors.Flow(3, 16), priors.Diffusion(64)], ids=["mixture", "flow", "diffusion"]
)
def test_a_fitted_prior_is_in_place_and_saved(kind: str, prior: priors.Prior, tmp_path: Path) -> None:
    """Bounds rise on the data it was fitted to, draws follow it, weights elsewhere stay, and the folder keeps it."""
    vae = trained(kind)
    before = {name: value.clone() for name, value in vae.state_dict().items() if not name.startswith("prior")}
    torch.manual_seed(1)
    plain = vae.elbo(DATA, num_samples=8).mean()
    state = torch.get_rng_state()
    densities = mmvae.fit_prior(vae, DATA, prior, steps=400, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(densities) == 400
    torch.manual_seed(1)
    assert vae.elbo(DATA, num_samples=8).mean() > plain
    after = vae.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert vae.sample(5)["a"].shape == (5, 4)
    mmvae.save(vae, tmp_path / "run")
    again = mmvae.load(tmp_path / "run")
    assert type(again.prior) is type(vae.prior)
    z = torch.randn(7, vae.latent_dim)
    torch.testing.assert_close(again.prior().log_prob(z), vae.prior().log_prob(z))


def test_the_mixture_finds_the_clusters() -> None:
    vae = trained("MVAE")
    mmvae.fit_prior(vae, DATA, priors.GaussianMixture(3), steps=200)
    found = vae.prior.responsibilities(mmvae.infer(vae, DATA).mean).argmax(-1)
    for cluster in range(3):
        counts = found[cluster == CLUSTER].bincount(minlength=3)
        assert counts.max() > 0.95 * counts.sum()
    mixture = vae.prior()
    assert isinstance(mixture, MixtureOfExperts)
    torch.testing.assert_close(mixture.weights, torch.full((3,), 1 / 3), atol=0.08, rtol=0)


def test_one_gaussian_has_the_moments_of_the_aggregate() -> None:
    """The maximum of the density in closed form: mean and variance of the draws."""
    vae = trained("MVAE")
    mmvae.fit_prior(vae, DATA, priors.GaussianMixture(1), steps=600)
    torch.manual_seed(0)
    draws = mmvae.infer(vae, DATA).sample(200).flatten(0, 1)
    prior = vae.prior()
    torch.testing.assert_close(prior.mean, draws.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(prior.variance, draws.var(0), atol=0.03, rtol=0.05)


def test_the_same_seed_fits_the_same() -> None:
    found = []
    for _ in range(2):
        vae = trained("MVAE")
        mmvae.fit_prior(vae, DATA, priors.Flow(1, 8), steps=5, seed=4)
        found.append(vae.prior().log_prob(torch.zeros(2)))
    assert torch.equal(*found)


def test_covariates_reach_the_prior() -> None:
    """p(z | c) of a fitted flow differs between levels that look different."""
    torch.manual_seed(0)
    modalities = [Modality(name, (4,), likelihoods.Normal(0.2)) for name in "ab"]
    vae = models.MVAE(modalities, 2, covariates={"cluster": 3})
    covariates = {"cluster": CLUSTER}
    mmvae.fit(vae, DATA, covariates=covariates, epochs=2, progress=False)
    mmvae.fit_prior(vae, DATA, priors.ConditionalNormal(8), covariates=covariates, steps=100)
    first, second = (vae.prior(torch.eye(3)[[level]]).mean for level in (0, 1))
    assert not torch.allclose(first, second)
    assert vae.sample(2, covariates={"cluster": 1})["a"].shape == (2, 4)


@pytest.mark.parametrize(
    ("prior", "options", "error", "message"),
    [
        (priors.StandardNormal(), {}, ValueError, "StandardNormal has no parameters to fit; pass"),
        (3, {}, TypeError, "prior: expected one of mmvae.priors"),
        (priors.GaussianMixture(2), {"steps": 0}, ValueError, "steps: expected at least 1"),
        (priors.ConditionalNormal(), {}, ValueError, "reads covariates and the model has none"),
    ],
)
def test_what_cannot_be_fitted_is_refused(prior: Any, options: Any, error: type, message: str) -> None:
    vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in "ab"], 2)
    with pytest.raises(error, match=message):
        mmvae.fit_prior(vae, DATA, prior, **options)


def test_models_without_a_prior_are_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a VAE of mmvae\.models, got Linear"):
        mmvae.fit_prior(torch.nn.Linear(2, 2), DATA, priors.GaussianMixture(2))  # type: ignore[arg-type]


# Pseudo-inputs.


@pytest.mark.parametrize("kind", list(KINDS))
def test_pseudo_inputs_are_fitted_and_saved(kind: str, tmp_path: Path) -> None:
    """The bound rises, encoders stay as they are, without gradients, and the folder keeps the prior."""
    vae = trained(kind)
    before = {name: value.clone() for name, value in vae.state_dict().items() if not name.startswith("prior")}
    for parameter in vae.parameters():
        parameter.grad = None
    torch.manual_seed(1)
    plain = vae.elbo(DATA, num_samples=8).mean()
    mmvae.fit_prior(vae, DATA, priors.Vamp(60), steps=100)
    torch.manual_seed(1)
    assert vae.elbo(DATA, num_samples=8).mean() > plain
    assert all(torch.equal(value, vae.state_dict()[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in vae.experts.parameters())
    mmvae.save(vae, tmp_path / "run")
    again = mmvae.load(tmp_path / "run")
    z = torch.randn(7, vae.latent_dim)
    torch.testing.assert_close(again.prior().log_prob(z), vae.prior().log_prob(z))


def test_a_vamp_prior_is_the_mixture_of_posteriors_of_pseudo_inputs() -> None:
    """The density in closed form, by the posteriors of the same rows of data."""
    vae = trained("MVAE")
    rows = {name: value[:5] for name, value in DATA.items()}
    vae.prior = vae.prior_for(priors.Vamp(5))
    vae.prior.start_from_rows(vae.prepare(rows))
    posterior = mmvae.infer(vae, rows).distribution
    z = torch.randn(9, 2)
    expected = posterior.log_prob(z.unsqueeze(1)).logsumexp(1) - torch.tensor(5.0).log()
    torch.testing.assert_close(vae.prior().log_prob(z).detach(), expected)


def test_a_vamp_prior_is_refused_where_it_cannot_be() -> None:
    from mmvae.models import MultimodalVAE
    from mmvae.objectives import ELBO
    from mmvae.posteriors import Flow, Product

    modalities = [Modality(name, (4,), likelihoods.Normal(0.2)) for name in "ab"]
    with pytest.raises(ValueError, match=r"Vamp does not read covariates .* take priors"):
        models.MVAE(modalities, 2, prior=priors.Vamp(3), covariates={"lane": 2})
    flow = Flow(Product(True), 2, transforms=1, hidden=4)
    with pytest.raises(ValueError, match="which are flows here; take priors"):
        MultimodalVAE(modalities, 2, joint_posterior=flow, objective=ELBO(), prior=priors.Vamp(3))
    with pytest.raises(ValueError, match="num_components: expected at least 1, got 0"):
        priors.Vamp(0)
