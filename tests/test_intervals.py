"""Intervals around what is generated: those of an exact model hold what they say, calibrated ones of any model."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from vaes.test_cells import SIZES, exact

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.intervals import conformal_margin


def wrong_model() -> models.MVAE:
    """Never trained, so its intervals hold anything but what they say."""
    torch.manual_seed(0)
    modalities = [
        Modality("a", (3,), likelihoods.Normal(0.05), transform=None),
        Modality("b", (2,), likelihoods.Laplace(4.0), transform=None),
        Modality("code", (1,), likelihoods.Categorical(3)),
    ]
    return models.MVAE(modalities, latent_dim=2)


def rows(count: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": 5 + torch.randn(count, 3, generator=generator),
        "b": torch.randn(count, 2, generator=generator).exp(),
        "code": torch.randint(3, (count, 1), generator=generator),
    }


@pytest.mark.parametrize("interval", [0.5, 0.9])
def test_intervals_of_an_exact_model_hold_what_is_missing(interval: float) -> None:
    yardstick, model = exact()
    data = yardstick.sample(3000)
    given_one, *others = SIZES
    made = model.generate(mmvae.infer(model, data, subset=given_one), interval=interval)
    assert made.lower is not None
    assert made.upper is not None
    for name in others:
        share = ((made.lower[name] <= data[name]) & (data[name] <= made.upper[name])).float().mean()
        assert float(share) == pytest.approx(interval, abs=0.02)


def test_calibrated_intervals_of_any_model_hold_what_they_say() -> None:
    """Over many calibration sets the probability is the ⌈(n + 1) s⌉ / (n + 1) of the theorem."""
    model, count, interval = wrong_model(), 19, 0.8
    new = rows(500, seed=999)
    latents = mmvae.infer(model, new, subset="b")
    shares = []
    for seed in range(60):
        made = model.generate(latents, 50, interval=interval, conformal=rows(count, seed))
        assert made.lower is not None
        assert made.upper is not None
        shares.append(((made.lower["a"] <= new["a"]) & (new["a"] <= made.upper["a"])).float().mean(0))
        assert torch.equal(made.lower["code"], made.upper["code"])
    found = torch.stack(shares)  # [sets, 3]
    error = found.std() / math.sqrt(found.numel())
    assert abs(float(found.mean()) - math.ceil(20 * interval) / 20) < 4 * float(error) + 0.01
    plain = model.generate(latents, interval=interval)
    assert plain.lower is not None
    assert plain.upper is not None
    assert float(((plain.lower["a"] <= new["a"]) & (new["a"] <= plain.upper["a"])).float().mean()) < 0.1


@given(seed=st.integers(0, 10**6), count=st.integers(4, 40), interval=st.sampled_from([0.5, 0.7, 0.75]))
def test_the_margin_is_that_of_a_loop(seed: int, count: int, interval: float) -> None:
    """By number, over the rows that have it."""
    generator = torch.Generator().manual_seed(seed)
    data, lower = torch.randn(2, count, 3, generator=generator)
    upper = lower + torch.rand(count, 3, generator=generator)
    present = torch.rand(count, 3, generator=generator) < 0.8
    present[:3] = True
    margin = conformal_margin("x", data, lower, upper, present, interval)
    for column in range(3):
        there = present[:, column]
        scores = sorted(torch.maximum(lower - data, data - upper)[there, column].tolist())
        assert float(margin[column]) == scores[math.ceil((len(scores) + 1) * interval - 1e-9) - 1]


@given(seed=st.integers(0, 10**6), interval=st.sampled_from([0.5, 0.8, 0.9]))
def test_one_row_more_lies_inside_in_as_many_of_the_orders_as_is_said(seed: int, interval: float) -> None:
    """The theorem, without chance: let each of n + 1 rows be the new one in turn."""
    generator = torch.Generator().manual_seed(seed)
    data, lower = torch.randn(2, 20, 1, generator=generator)
    upper = lower + torch.rand(20, 1, generator=generator)
    inside = 0
    for new in range(20):
        others = torch.arange(20) != new
        margin = conformal_margin(
            "x", data[others], lower[others], upper[others], torch.ones(19, 1, dtype=torch.bool), interval
        )
        inside += bool((lower[new] - margin <= data[new]) & (data[new] <= upper[new] + margin))
    assert inside == math.ceil(20 * interval - 1e-9)


def test_rows_that_lack_the_subset_calibrate_nothing_and_get_no_interval() -> None:
    model, new = wrong_model(), rows(6, seed=1)
    calibration, observed = rows(40, seed=2), torch.arange(40) < 20
    calibration["b"][~observed] = torch.nan
    calibration["a"][~observed] = 1e6  # would be seen in every interval
    gaps = {"b": torch.tensor([True, True, False, True, True, True])}
    latents = mmvae.infer(model, new, subset="b", observed=gaps, missing="nan")
    torch.manual_seed(0)
    made = model.generate(latents, interval=0.8, conformal=calibration)
    torch.manual_seed(0)
    same = model.generate(latents, interval=0.8, conformal={name: value[:20] for name, value in calibration.items()})
    assert made.upper is not None
    assert same.upper is not None
    assert float(made.upper["a"][gaps["b"]].max()) < 100
    torch.testing.assert_close(made.upper["a"], same.upper["a"], equal_nan=True)
    assert made.upper["a"][2].isnan().all()


def test_calibration_data_is_read_in_blocks_that_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks without a row that has the subset are passed over."""
    monkeypatch.setattr("mmvae.intervals._ROWS", 7)
    model, calibration = wrong_model(), rows(45, seed=3)
    calibration["b"][7:21] = torch.nan
    kept = torch.cat([torch.arange(7), torch.arange(21, 45)])
    complete = {name: value[kept] for name, value in calibration.items()}
    made = model.generate(mmvae.infer(model, complete, subset="b"), interval=0.8, conformal=calibration)
    assert made.lower is not None
    assert made.upper is not None
    share = ((made.lower["a"] <= complete["a"]) & (complete["a"] <= made.upper["a"])).float().mean()
    assert float(share) == pytest.approx(math.ceil(32 * 0.8) / 31, abs=0.1)
    with pytest.raises(ValueError, match=r"interval of 0.98 needs at least 49 rows .* got 31"):
        model.generate(mmvae.infer(model, complete, subset="b"), interval=0.98, conformal=calibration)


def test_columns_without_an_order_are_left_alone() -> None:
    torch.manual_seed(0)
    table = likelihoods.Columns({"size": likelihoods.Normal(0.01), "kind": likelihoods.Categorical(3)})
    vae = models.MVAE([Modality("table", (2,), table), Modality("x", (2,), likelihoods.Normal())], 2)
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(3, (30, 1), generator=generator).float()
    data = {"table": torch.cat([torch.randn(30, 1), kinds], 1), "x": torch.randn(30, 2)}
    made = vae.generate(mmvae.infer(vae, data, subset="x"), interval=0.8, conformal=data)
    assert made.lower is not None
    assert made.upper is not None
    assert torch.equal(made.lower["table"][:, 1], made.upper["table"][:, 1])
    assert bool((made.lower["table"][:, 0] < made.upper["table"][:, 0]).all())


def test_without_an_interval_there_are_no_ends() -> None:
    model = wrong_model()
    made = model.generate(mmvae.infer(model, rows(4, 0)))
    assert isinstance(made, dict)
    assert made.lower is None
    assert made.upper is None


def test_what_cannot_be_calibrated() -> None:
    model = wrong_model()
    latents = mmvae.infer(model, rows(4, 0), subset="b")
    with pytest.raises(ValueError, match="pass interval= too"):
        model.generate(latents, conformal=rows(40, 1))
    with pytest.raises(ValueError, match=r"between 0 and 1.*got 90"):
        model.generate(latents, interval=90)
    with pytest.raises(ValueError, match=r"conformal, a: an interval of 0.9 needs at least 9 rows .* got 8"):
        model.generate(latents, interval=0.9, conformal=rows(8, 1))
    with pytest.raises(ValueError, match="calibration data lacks 'a', 'code'"):
        model.generate(latents, interval=0.9, conformal={"b": rows(40, 1)["b"]})
    nothing = rows(40, 1)
    nothing["b"][:] = torch.nan
    with pytest.raises(ValueError, match="no row of the calibration data has all of 'b'"):
        model.generate(latents, interval=0.9, conformal=nothing)
