"""What users do with autoencoders of points: resume, evaluate, fill in, report; and what needs densities."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mmvae
from mmvae import Batch, Modality, likelihoods, models, nn, plot

KINDS: dict[str, Any] = {
    "DCCAE": models.DCCAE,
    "MAAE": partial(models.MAAE, hidden=8),
    "MWAE": models.MWAE,
    "critic": partial(models.MWAE, distance="critic", hidden=8, inner_steps=2),
}


def build(kind: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    encoder, decoder = partial(nn.MLPEncoder, (3,), hidden=(8,)), partial(nn.MLPDecoder, shape=(3,), hidden=(8,))
    return KINDS[kind]([Modality(name, (3,), likelihoods.Normal(), encoder, decoder) for name in ("a", "b")], 2)


def data(rows: int = 64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    cause = torch.randn(rows, 3, generator=generator)
    return {name: cause + 0.1 * torch.randn(rows, 3, generator=generator) for name in ("a", "b")}


def trained(kind: str) -> Any:
    model = build(kind)
    mmvae.fit(model, data(), epochs=2, batch_size=16, progress=False)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_goes_on_is_the_whole_run(kind: str, tmp_path: Path) -> None:
    """Bit by bit, with moments of coordinates and the networks and optimiser of the match."""
    quiet = partial(mmvae.fit, batch_size=16, progress=False, device="cpu")
    whole = quiet(build(kind), data(), epochs=4)
    quiet(build(kind), data(), epochs=2, out=tmp_path)
    resumed = quiet(build(kind, seed=9), data(), epochs=4, out=tmp_path, resume=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_says_what_has_no_density(kind: str) -> None:
    model = trained(kind)
    labels = (data()["a"][:, 0] > 0).long()
    batch = Batch(data(), labels=labels)
    evaluation = mmvae.evaluate(model, batch, train=batch, progress=False)
    assert evaluation.value("linear_probe", "a") > 0.5
    assert not {"elbo", "log_likelihood"} & {row["metric"] for row in evaluation.rows}
    asked = mmvae.evaluate(model, batch, ["elbo", "log_likelihood"], progress=False)
    assert asked.rows == []
    for name, note in zip(("elbo", "log_likelihood"), asked.notes, strict=True):
        assert note == f"{name}: left out, since {type(model).__name__} has no log_weights, so no densities."


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_filled_in(kind: str) -> None:
    model = trained(kind)
    whole = data()
    holes = {"a": whole["a"], "b": torch.where(torch.arange(64)[:, None] < 32, torch.nan, whole["b"])}
    filled = mmvae.impute(model, holes, interval=0.9)
    assert torch.equal(filled["b"][32:], whole["b"][32:])
    expected = model.generate(mmvae.infer(model, {"a": whole["a"][:32]}))["b"]
    torch.testing.assert_close(filled["b"][:32], expected)
    assert bool((filled.lower["b"][:32] < filled.upper["b"][:32]).all())


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_densities_is_refused_by_name(kind: str) -> None:
    model = build(kind)
    with pytest.raises(TypeError, match=f"{type(model).__name__} has no generative program"):
        mmvae.infer(model, data(), refine="gradient")
    with pytest.raises(TypeError, match=f"expected a VAE of mmvae.models, got {type(model).__name__}"):
        mmvae.fit_prior(model, data(), mmvae.priors.GaussianMixture(2))
    assert not hasattr(model, "log_likelihood")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:canonical correlations of views")
def test_reports_and_figures_are_made(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    labels = (data()["a"][:, 0] > 0).long()
    batch = Batch(data(), labels=labels)
    mmvae.fit(model, batch, epochs=2, batch_size=16, validation=0.25, progress=False, out=tmp_path)
    page = mmvae.report(tmp_path, model, batch)
    assert type(model).__name__ in page.read_text(encoding="utf-8")
    drawn = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert {"cross_generation", "latent_map", "latent_means"} <= drawn
    assert ("prior_samples" in drawn) == (kind != "DCCAE")
    arrays = plot.LatentMeans.of(model, batch)
    assert plot.latent_map(arrays).axes
