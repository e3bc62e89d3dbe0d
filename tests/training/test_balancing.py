"""Weights of the modalities that ``fit`` chooses: by what fills in hidden data, once, recorded and resumed."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.training import balancing
from mmvae.training.balancing import candidates

PIXELS = 128
quiet = functools.partial(mmvae.fit, progress=False, device="cpu", batch_size=50, lr=3e-3)


def data(rows: int = 500, seed: int = 0) -> dict[str, Tensor]:
    """An image of many pixels, of which a few factors say something of a table with a price."""
    generator = torch.Generator().manual_seed(0)
    mix, others = torch.randn(6, PIXELS, generator=generator), torch.randn(12, PIXELS, generator=generator)
    generator.manual_seed(seed + 1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    factors = noise(rows, 6)
    image = torch.tanh(0.5 * factors @ mix + 0.8 * noise(rows, 12) @ others) + 0.5 * noise(rows, PIXELS)
    price = factors[:, 0] + 0.2 * noise(rows)
    table = torch.stack([price, factors[:, 1] + 0.3 * noise(rows), factors[:, 2] + 0.3 * noise(rows), noise(rows)], 1)
    return {"image": image, "table": table}


def made(kind: str, weights: Any) -> Any:
    torch.manual_seed(0)
    image = Modality("image", (PIXELS,), likelihoods.Normal("learned"))
    table = Modality("table", (4,), likelihoods.Normal("by_feature"))
    return getattr(models, kind)([image, table], latent_dim=16, weights=weights)


def price_error(model: Any) -> float:
    """Error of the price given the image, where 1 is that of its mean."""
    found = mmvae.evaluate(
        model, data(300, seed=1), ["imputation"], subsets=["image"], likelihood_rows=9, progress=False
    )
    row = next(row for row in found.select("imputation_column", "image", "table") if row["column"] == "0")
    return row["value"] / row["floor"]


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancing, "_STEPS", 60)


def test_what_suits_one_model_may_harm_another_and_each_gets_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Balanced weights suit MoPoE, and scaling the image down to the table ruins it; MVTCAE takes the latter well."""
    chosen, plain = made("MoPoE", "auto"), made("MoPoE", None)
    quiet(chosen, data(), epochs=8, progress=True)
    said = capsys.readouterr().err
    assert "weights: balanced, {'image': 1, 'table': 32}. Error of hidden data after short runs: own 0." in said
    assert chosen.weights == {"image": 1.0, "table": PIXELS / 4}
    quiet(plain, data(), epochs=8)
    assert price_error(chosen) < 0.85 * price_error(plain)
    other = made("MVTCAE", "auto")
    quiet(other, data(), epochs=8)
    assert other.weights in candidates(other.modalities, {"image": 1.0, "table": 1.0}).values()
    assert price_error(other) < 0.7


def small(weights: Any = "auto", kind: str = "MVAE", **options: Any) -> Any:
    torch.manual_seed(0)
    modalities = [Modality("a", (8,), likelihoods.Normal()), Modality("b", (2,), likelihoods.Normal(), weight=3.0)]
    return getattr(models, kind)(modalities, 2, weights=weights, **options)


def few(rows: int = 60) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(rows, 1, generator=generator)
    return {
        "a": factor + 0.5 * torch.randn(rows, 8, generator=generator),
        "b": factor + 0.5 * torch.randn(rows, 2, generator=generator),
    }


def test_until_a_fit_weights_are_those_of_the_modalities() -> None:
    model = small()
    assert model.weights_are_open
    assert model.weights == {"a": 1.0, "b": 3.0}
    assert model.loss(few()).total.isfinite()


def test_candidates_have_the_largest_or_the_smallest_modality_as_measure() -> None:
    model = small()
    assert candidates(model.modalities, model.weights) == {
        "own": {"a": 1.0, "b": 3.0},
        "balanced": {"a": 1.0, "b": 4.0},
        "scaled down": {"a": 0.25, "b": 1.0},
        "half scaled down": {"a": 0.5, "b": 1.0},
    }
    alike = [Modality(name, (3,), likelihoods.Normal()) for name in "ab"]
    assert list(candidates(tuple(alike), {"a": 1.0, "b": 1.0})) == ["own"]


def test_a_choice_is_recorded_saved_and_resumed_exactly(tmp_path: Path) -> None:
    whole, stopped, again = small(), small(), small()
    quiet(whole, few(), epochs=3, out=tmp_path / "whole", validation=0.2)
    quiet(stopped, few(), epochs=1, out=tmp_path / "run", validation=0.2)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["weights"] == config["model"]["arguments"]["weights"] == stopped.weights
    assert not stopped.weights_are_open
    loaded = mmvae.load(tmp_path / "run")
    assert loaded.weights == stopped.weights
    assert not loaded.weights_are_open
    quiet(again, few(), epochs=3, out=tmp_path / "run", validation=0.2, resume=True)
    assert again.weights == whole.weights == stopped.weights
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_short_runs_leave_no_trace() -> None:
    """Training after a choice is the same as with these weights from the beginning."""
    chosen = small()
    before = torch.get_rng_state()
    quiet(chosen, few(), epochs=2)
    assert torch.equal(torch.get_rng_state(), before)
    given = small(chosen.weights)
    quiet(given, few(), epochs=2)
    for name, value in given.state_dict().items():
        assert torch.equal(value, chosen.state_dict()[name]), name


def test_one_modality_has_nothing_to_choose() -> None:
    model = models.MVAE([Modality("a", (8,), likelihoods.Normal())], 2, weights="auto")
    quiet(model, {"a": few()["a"]}, epochs=1)
    assert model.weights == {"a": 1.0}


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r'weights: "auto" tries weights in short runs, .* Pass weights by name'):
        quiet(small(kind="JNF"), few(), epochs=1)
    apart = {"a": few()["a"], "b": few()["b"]}
    apart["a"][::2], apart["b"][1::2] = torch.nan, torch.nan
    with pytest.raises(ValueError, match=r'weights: "auto" hides data .* no validation row has two modalities'):
        quiet(small(), apart, epochs=1)
    with pytest.raises(ValueError, match='expected None, "balanced", "auto" or a dict'):
        small("best")
