from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import mmvae
from mmvae import Batch, Latents, Modality, likelihoods, models
from mmvae.refinement import Gradient, Refiner


class Items(Dataset):
    def __init__(self, data: dict[str, torch.Tensor]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data["a"])

    def __getitem__(self, index: int) -> Any:
        return {name: value[index] for name, value in self.data.items()}


@pytest.fixture
def data() -> dict[str, torch.Tensor]:
    return {"a": torch.randn(10, 3), "b": torch.randn(10, 3)}


def make(kind: str = "MVAE") -> Any:
    encoder = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    modalities = [
        Modality(name, (3,), likelihoods.Normal(), encoder, lambda latent_dim: nn.Linear(latent_dim, 3))
        for name in ("a", "b")
    ]
    return getattr(models, kind)(modalities, 2)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE"])
def test_any_form_of_data_gives_the_same(kind: str, data: dict[str, torch.Tensor]) -> None:
    model = make(kind)
    expected = mmvae.infer(model, data)
    assert expected.subset == ("a", "b")
    for form in (Batch(data), Items(data), {name: value.numpy() for name, value in data.items()}):
        for batch_size in (3, 1024):
            torch.testing.assert_close(mmvae.infer(model, form, batch_size=batch_size).mean, expected.mean)


def test_evaluation_mode_without_gradients(data: dict[str, torch.Tensor]) -> None:
    model = make()
    assert torch.equal(mmvae.infer(model, data).mean, mmvae.infer(model, data).mean)  # no dropout
    assert not mmvae.infer(model, data).mean.requires_grad
    assert all(part.training for part in model.modules())


def test_masks_beside_the_data(data: dict[str, torch.Tensor]) -> None:
    model = make()
    observed = {"a": torch.arange(10) < 5}
    latents = mmvae.infer(model, data, observed=observed, batch_size=4)
    torch.testing.assert_close(latents.mean[:5], mmvae.infer(model, data).mean[:5])
    torch.testing.assert_close(latents.mean[5:], mmvae.infer(model, data, "b").mean[5:])


def test_progress_is_shown_where_asked_for(data: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    mmvae.infer(make(), data)
    assert not capsys.readouterr().out
    mmvae.infer(make(), data, batch_size=5, progress=True)
    assert "inferring" in capsys.readouterr().out


def test_errors_pass_through_and_the_mode_comes_back(data: dict[str, torch.Tensor]) -> None:
    model = make()
    with pytest.raises(ValueError, match="voice"):
        mmvae.infer(model, data, "voice")
    assert all(part.training for part in model.modules())


# Refined.


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE"])
def test_any_model_is_refined_by_the_gradient(kind: str, data: dict[str, torch.Tensor]) -> None:
    """In batches and without gradients, from the posterior that the model has; its mode comes back."""
    model = make(kind)
    for subset in (None, "b"):
        latents = mmvae.infer(model, data, subset, refine="gradient", steps=4, batch_size=4)
        assert latents.subset == (("a", "b") if subset is None else ("b",))
        assert latents.distribution.batch_shape == (10,)
        assert latents.elbo_trace is not None
        assert latents.elbo_trace.shape == (5, 10)
        assert (latents.elbo_trace[-1] > latents.elbo_trace[0]).all()
        assert not latents.mean.requires_grad
        start = mmvae.infer(model, data, subset, refine="gradient", steps=0)
        torch.testing.assert_close(latents.elbo_trace[0], start.elbo_trace[0])  # type: ignore[index]
        torch.testing.assert_close(start.mean, mmvae.infer(model, data, subset).mean)
        torch.testing.assert_close(start.scale, mmvae.infer(model, data, subset).scale)
    assert all(part.training for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_any_form_of_data_is_refined_alike(data: dict[str, torch.Tensor]) -> None:
    model, observed = make(), {"a": torch.arange(10) < 5}
    expected = mmvae.infer(model, Batch(data, observed), refine="gradient", steps=4)
    hidden = {**data, "a": torch.where(observed["a"][:, None], data["a"], float("nan"))}
    for form in (Items(hidden), hidden, {name: value.numpy() for name, value in hidden.items()}):
        found = mmvae.infer(model, form, refine="gradient", steps=4, batch_size=6)
        torch.testing.assert_close(found.mean, expected.mean, rtol=1e-4, atol=1e-4)
    beside = mmvae.infer(model, data, refine="gradient", steps=4, observed=observed)
    torch.testing.assert_close(beside.elbo_trace, expected.elbo_trace)


def test_steps_of_each_kind(data: dict[str, torch.Tensor]) -> None:
    model = make("IterativeVAE")
    assert mmvae.infer(model, data, refine="gradient").elbo_trace.shape == (101, 10)  # type: ignore[union-attr]
    assert mmvae.infer(model, data, refine="amortized").elbo_trace.shape == (6, 10)  # type: ignore[union-attr]
    assert mmvae.infer(model, data, refine="amortized", steps=8).elbo_trace.shape == (9, 10)  # type: ignore[union-attr]
    assert mmvae.infer(model, data, refine=Gradient(3)).elbo_trace.shape == (4, 10)  # type: ignore[union-attr]
    few = {name: value[:2] for name, value in data.items()}
    latents = mmvae.infer(model, few, refine="hmc", steps=4, batch_size=1)
    assert latents.distribution._samples.shape == (2, 16, 2)  # type: ignore[attr-defined]
    assert latents.diagnostics["r_hat"].shape == (2, 2)
    assert mmvae.infer(model, data).elbo_trace is None


def test_a_refiner_of_ones_own(data: dict[str, torch.Tensor]) -> None:
    """Gets the model and a batch that conforms, with the members of the subset in the model's order."""
    seen = []

    class Twice(Refiner):
        def __call__(self, model: Any, batch: Batch, start: Any = None) -> Latents:
            seen.append((batch.names, batch.size, batch.conforms_to is model.forms, torch.is_grad_enabled()))
            mean = 2 * model.posterior(batch).mean
            return Latents(dist.Normal(mean, 1.0).to_event(1), batch.names)

    model = make()
    found = mmvae.infer(model, data, ("b", "a"), refine=Twice(), batch_size=6)
    assert seen == [(("a", "b"), 6, True, False), (("a", "b"), 4, True, False)]
    torch.testing.assert_close(found.mean, 2 * mmvae.infer(model, data).mean)
    assert found.elbo_trace is None


class Deterministic(nn.Module):
    """Infers, and has no densities."""

    def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> Latents:
        return Latents(dist.Delta(torch.zeros(len(batch), 2), event_dim=1), ("a",))


@pytest.mark.parametrize(
    ("make_model", "options", "error", "message"),
    [
        (make, {"refine": "adam"}, ValueError, "refine: expected None, 'amortized', 'gradient', 'hmc' or .* 'adam'"),
        (make, {"steps": 5}, ValueError, 'steps: there is nothing to do in steps; say how: refine="gradient"'),
        (make, {"refine": Gradient(3), "steps": 5}, ValueError, "steps: Gradient was given with its own"),
        (make, {"refine": "gradient", "steps": -1}, ValueError, "steps: expected at least 0, got -1"),
        (make, {"refine": "gradient", "subset": "voice"}, ValueError, "unknown modality 'voice'"),
        (make, {"refine": "gradient", "subset": []}, ValueError, "empty"),
        (make, {"refine": "amortized"}, TypeError, "MVAE has not learned to refine"),
        (Deterministic, {"refine": "gradient"}, TypeError, "Deterministic has no generative program"),
        (Deterministic, {"refine": "hmc"}, TypeError, "Deterministic has no generative program"),
    ],
)
def test_refinement_that_there_is_not(
    make_model: Any, options: dict[str, Any], error: type[Exception], message: str, data: dict[str, torch.Tensor]
) -> None:
    model = make_model()
    with pytest.raises(error, match=message):
        mmvae.infer(model, data, **options)
    assert all(part.training for part in model.modules())


def test_a_subset_that_the_data_does_not_hold_is_not_refined(data: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="'b'"):
        mmvae.infer(make(), {"a": data["a"]}, "b", refine="gradient")


def test_refinement_shows_progress_sooner(data: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    """From four batches on, unless it is told not to."""
    model = make()
    for options, shown in (({"batch_size": 4}, False), ({"batch_size": 3}, True), ({"batch_size": 3}, None)):
        progress = False if shown is None else None
        mmvae.infer(model, data, refine="gradient", steps=1, progress=progress, **options)  # type: ignore[arg-type]
        assert ("refining" in capsys.readouterr().out) == bool(shown)


def test_refinement_leaves_chance_alone(data: dict[str, torch.Tensor]) -> None:
    model = make("IterativeVAE")
    before = torch.get_rng_state()
    for refine in ("gradient", "amortized"):
        mmvae.infer(model, data, refine=refine, steps=2)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("refine", "steps"), [("gradient", 3), ("amortized", 3), ("hmc", 4)])
def test_a_modality_that_is_to_be_drawn_counts_as_missing(
    refine: Any, steps: int, data: dict[str, torch.Tensor]
) -> None:
    model = make("IterativeVAE")
    batch = Batch({"a": data["a"][:2], "b": None})
    before = torch.get_rng_state()
    found = mmvae.infer(model, batch, refine=refine, steps=steps)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.subset == ("a",)
    assert torch.equal(found.mean, mmvae.infer(model, {"a": data["a"][:2]}, refine=refine, steps=steps).mean)
