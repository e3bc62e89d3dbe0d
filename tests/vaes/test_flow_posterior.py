"""A posterior that is not Gaussian goes through everything that a model of the library goes through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mmvae
from mmvae import Modality, likelihoods
from mmvae.models import MultimodalVAE
from mmvae.objectives import ELBO
from mmvae.posteriors import Flow, Product
from mmvae.testing import LinearGaussian

GENERATOR = torch.Generator().manual_seed(0)
HIDDEN = torch.randn(1200, 2, generator=GENERATOR)
DATA = {
    name: (HIDDEN @ torch.randn(2, 4, generator=GENERATOR)).tanh() + 0.1 * torch.randn(1200, 4, generator=GENERATOR)
    for name in "ab"
}
LABELS = (HIDDEN[:, 0] > 0).long()
FEW = {name: value[:60] for name, value in DATA.items()}


def make(modalities: Any = None) -> MultimodalVAE:
    torch.manual_seed(0)
    modalities = modalities or [Modality(name, (4,), likelihoods.Normal(0.3)) for name in "ab"]
    posterior = Flow(Product(prior_expert=True), 2, transforms=2, hidden=16)
    return MultimodalVAE(modalities, 2, joint_posterior=posterior, objective=ELBO())


@pytest.fixture(scope="module")
def vae() -> MultimodalVAE:
    model = make()
    mmvae.fit(model, DATA, epochs=3, progress=False)
    return model.eval()


def test_more_rows_than_fit_a_batch(vae: MultimodalVAE) -> None:
    """Posteriors of 1,200 rows, a batch after the other, are one posterior: moments, draws and densities."""
    latents = mmvae.infer(vae, DATA, subset="a")
    assert latents.mean.shape == latents.scale.shape == (1200, 2)
    assert latents.sample(3).shape == (3, 1200, 2)
    last = mmvae.infer(vae, {name: value[1100:] for name, value in DATA.items()}, subset="a")
    torch.testing.assert_close(latents.mean[1100:], last.mean)
    z = latents.sample()
    torch.testing.assert_close(latents.distribution.log_prob(z)[1100:], last.distribution.log_prob(z[1100:]))
    assert {name: value.shape for name, value in vae.generate(latents).items()} == {
        name: value.shape for name, value in DATA.items()
    }


def test_moments_are_those_of_draws(vae: MultimodalVAE) -> None:
    latents = mmvae.infer(vae, FEW)
    torch.manual_seed(0)
    draws = latents.sample(20_000)
    error = latents.scale / 20_000**0.5
    assert ((draws.mean(0) - latents.mean).abs() < 5 * error + 0.01 * latents.scale).all()
    torch.testing.assert_close(draws.std(0), latents.scale, rtol=0.05, atol=0)


def test_likelihoods_converge_and_bounds_are_below() -> None:
    """On the linear-Gaussian yardstick, with decoders that are the true ones."""
    yardstick = LinearGaussian.orthogonal({"a": 3, "b": 4}, 2, seed=1)
    data = yardstick.sample(300)
    model = make(yardstick.modalities())
    learner = torch.optim.Adam([*model.experts.parameters(), *model.joint_posterior.parameters()], lr=0.01)
    for _ in range(200):
        learner.zero_grad()
        model.loss(data).total.backward()
        learner.step()
    few = {name: value[:8] for name, value in data.items()}
    exact = yardstick.log_likelihood(few)
    found = model.eval().log_likelihood(few, num_samples=20_000).double()
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)
    with torch.no_grad():
        assert (model.elbo(few, num_samples=5_000).double() < exact + 0.05).all()


def test_it_is_evaluated_refined_exported_and_drawn(vae: MultimodalVAE, tmp_path: Path) -> None:
    names = ["linear_probe", "cosine", "elbo", "log_likelihood", "active_units", "students", "inference_gaps"]
    evaluation = mmvae.evaluate(
        vae,
        mmvae.Batch(FEW, labels=LABELS[:60]),
        names,
        train=mmvae.Batch(DATA, labels=LABELS),
        num_samples=50,
        progress=False,
    )
    measured = {row["metric"] for row in evaluation.rows}
    assert {"linear_probe", "cosine", "elbo", "log_likelihood", "active_units", "student_mean_distance"} <= measured
    assert {"amortization_gap", "approximation_gap"} <= measured
    assert evaluation.value("elbo", "a+b") < evaluation.value("log_likelihood", "a+b") + 0.5

    refined = mmvae.infer(vae, FEW, refine="gradient", steps=10, progress=False)
    assert (refined.elbo_trace[-1] >= refined.elbo_trace[0]).all()
    drawn = mmvae.infer(vae, {name: value[:2] for name, value in DATA.items()}, refine="hmc", steps=4, progress=False)
    assert drawn.mean.shape == (2, 2)

    program = mmvae.export(vae, FEW, tmp_path / "flow.pt2", subset="a").module()
    found = program({"a": DATA["a"][:7]})
    expected = mmvae.infer(vae, {"a": DATA["a"][:7]})
    torch.testing.assert_close(found["mean"], expected.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["scale"], expected.scale, rtol=1e-4, atol=1e-5)


def test_it_is_reported_with_every_picture(tmp_path: Path) -> None:
    """No picture and no metric of a report fails for it."""
    model = make()
    run = mmvae.fit(model, FEW, epochs=1, out=tmp_path / "run", progress=False)
    mmvae.evaluate(model, FEW, ["elbo", "log_likelihood"], num_samples=20, progress=False).save(run.path)
    page = mmvae.report(run, model, FEW)
    text = page.read_text()
    assert "could not" not in text
    pictures = {path.stem for path in (run.path / "plots").glob("*.png")}
    assert {"kl_per_dimension", "cross_generation", "prior_samples", "aggregate_calibration"} <= pictures


def test_it_is_saved_and_resumed(tmp_path: Path) -> None:
    """A run that was stopped after an epoch ends with the weights of one that was not, bit for bit."""
    whole, parts = make(), make()
    mmvae.fit(whole, FEW, epochs=2, out=tmp_path / "whole", progress=False)
    mmvae.fit(parts, FEW, epochs=1, out=tmp_path / "parts", progress=False)
    parts = make()
    mmvae.fit(parts, FEW, epochs=2, out=tmp_path / "parts", resume=True, progress=False)
    loaded = mmvae.load(tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
        assert torch.equal(value, loaded.state_dict()[name]), name
