from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from mmvae import Batch, Modality, likelihoods, models
from mmvae.evaluation import Evaluation, evaluate
from mmvae.testing import LinearGaussian, exact_model

SIZES = {"a": 4, "b": 5}
SUBSETS = [("a",), ("b",), ("a", "b")]


def gaps(model: Any, data: Any, **arguments: Any) -> Evaluation:
    return evaluate(model, data, ["inference_gaps"], **{"num_samples": 200, "progress": False} | arguments)


def bound_in_closed_form(
    yardstick: LinearGaussian,
    data: Mapping[str, Tensor],
    subset: tuple[str, ...],
    loc: Tensor,
    scale: Tensor,
    weights: Mapping[str, float] | None = None,
    beta: float = 1.0,
) -> Tensor:
    """Σ_m w_m E_q[log p(x_m | z)] - β KL(q || p) for a linear decoder, datum by datum and number by number."""
    loc, scale = loc.double(), scale.double()
    total = []
    for row in range(len(loc)):
        kl = sum(0.5 * (s**2 + m**2 - 1) - s.log() for m, s in zip(loc[row], scale[row], strict=True))
        value = -beta * kl
        for name in subset:
            for number, loading in enumerate(yardstick.loadings[name]):
                mean = loading @ loc[row] + yardstick.offsets[name][number]
                spread = (loading.square() * scale[row].square()).sum() / yardstick.scales[name] ** 2
                log_p = torch.distributions.Normal(mean, yardstick.scales[name]).log_prob(data[name][row, number])
                value = value + (weights or {}).get(name, 1.0) * (log_p - 0.5 * spread)
        total.append(value)
    return torch.stack(total)


def closed(yardstick: LinearGaussian, data: Mapping[str, Tensor], subset: tuple[str, ...], model: Any) -> Tensor:
    with torch.no_grad():
        latents = model.infer(data, subset)
        return bound_in_closed_form(yardstick, data, subset, latents.mean, latents.scale)


def assert_mean(found: Evaluation, metric: str, given: Any, expected: Tensor, tolerance: float = 1e-4) -> None:
    (row,) = found.select(metric, given)
    assert row["value"] == pytest.approx(float(expected.mean()), abs=tolerance)
    assert row["stderr"] == pytest.approx(float(expected.std()) / len(expected) ** 0.5, rel=0.1, abs=tolerance)
    assert row["n"] == len(expected)


def test_an_exact_model_has_no_gap() -> None:
    yardstick = LinearGaussian.orthogonal(SIZES, 2, seed=1)
    found = gaps(exact_model(yardstick, "MVAE"), yardstick.sample(20))
    for subset in SUBSETS:
        (amortization,), (approximation,) = (
            found.select(f"{each}_gap", subset) for each in ("amortization", "approximation")
        )
        assert amortization["value"] == pytest.approx(0, abs=1e-3)
        assert approximation["value"] == pytest.approx(0, abs=1e-3)  # every weight is p(x), so there is no noise
        assert approximation["num_samples"] == 200
        assert approximation["ess"] == pytest.approx(200, rel=1e-2)
        assert "note" not in amortization
    assert {row["metric"] for row in found.rows} == {"amortization_gap", "approximation_gap"}
    assert not found.notes


def test_gaps_of_a_model_that_is_off_are_those_of_the_closed_form() -> None:
    yardstick = LinearGaussian.random(SIZES, 2, seed=10)  # no diagonal Gaussian is exact
    data = yardstick.sample(20)
    training = {"weights": {"a": 5.0, "b": 0.3}, "beta": 4.0}  # nats are honest all the same
    model = models.MVAE(yardstick.modalities(), 2, **training)
    found = gaps(model, data, num_samples=2000)
    for subset in SUBSETS:
        optimum = yardstick.mean_field_elbo(data, subset)
        expected = optimum - closed(yardstick, data, subset, model)
        assert float(expected.mean()) > 0.5
        assert_mean(found, "amortization_gap", subset, expected)
        remaining = float((yardstick.log_likelihood(data, subset) - optimum).mean())  # the same for all data
        (row,) = found.select("approximation_gap", subset)
        assert remaining > 0.04
        assert row["value"] == pytest.approx(remaining, abs=4 * row["stderr"])
        assert row["stderr"] < 0.1 * remaining


def test_error_bars_have_all_the_noise_in_them() -> None:
    """Twenty rows of the same data, which differ in nothing but noise, under a likelihood that is not quadratic."""
    torch.manual_seed(3)
    modality = Modality("a", (6,), likelihoods.Poisson(), decoder=lambda size: nn.Linear(size, 6))
    model = models.MVAE([modality], 2)
    with torch.no_grad():
        model.decoders["a"].weight.mul_(2)
    data = {"a": torch.tensor([[0.0, 1, 7, 2, 0, 4]]).expand(20, 6)}
    found = [gaps(model, data, num_samples=500, seed=seed) for seed in range(12)]
    for metric in ("approximation_gap", "amortization_gap"):
        rows = [each.select(metric)[0] for each in found]
        values = torch.tensor([row["value"] for row in rows])
        claimed = torch.tensor([row["stderr"] for row in rows]).mean()
        assert 0.5 < float(values.std() / claimed) < 2


def test_a_mixture_is_represented_by_the_gaussian_of_its_mean_and_variance() -> None:
    yardstick = LinearGaussian.orthogonal(SIZES, 2, seed=1)
    model, data = exact_model(yardstick, "MMVAE"), yardstick.sample(20)
    found = gaps(model, data)
    for subset in SUBSETS:
        expected = yardstick.mean_field_elbo(data, subset) - closed(yardstick, data, subset, model)
        assert_mean(found, "amortization_gap", subset, expected)
        assert "mean and variance" in found.select("amortization_gap", subset)[0]["note"]
    assert found.value("amortization_gap", "a") == pytest.approx(0, abs=1e-3)
    assert found.value("amortization_gap", "a+b") > 0.1


def make_iterative(yardstick: LinearGaussian, **options: Any) -> models.IterativeVAE:
    return models.IterativeVAE(
        yardstick.modalities(), 2, base="mvae", num_steps=3, refinement_hidden=8, refinement_layers=1, **options
    )


def test_a_model_that_refines_is_measured_before_and_after() -> None:
    yardstick = LinearGaussian.random(SIZES, 2, seed=3)
    data, weights = yardstick.sample(15), {"a": 2.0, "b": 0.5}
    model = make_iterative(yardstick, weights=weights, beta=3.0)
    found = gaps(model, data)
    batch, both = model.prepare(data), ("a", "b")
    with torch.no_grad():
        path = model.refinement_path(batch, 3)[1].iterates
    honest, weighted = (
        [bound_in_closed_form(yardstick, data, both, *q, *setting) for q in (path[0], path[-1])]
        for setting in ((), (weights, 3.0))
    )
    optimum = yardstick.mean_field_elbo(data, both)
    assert_mean(found, "amortization_gap", both, optimum - honest[1])
    assert_mean(found, "initial_gap", both, optimum - honest[0])
    assert_mean(found, "refinement_gain", both, honest[1] - honest[0])
    assert_mean(found, "refinement_gain_weighted", both, weighted[1] - weighted[0])
    share = (honest[1] - honest[0]).mean() / (optimum - honest[0]).mean()
    assert found.value("closed_share", both) == pytest.approx(float(share), abs=1e-3)
    alone = {row["metric"] for row in found.select(given="a")}
    assert alone == {"amortization_gap", "approximation_gap"}


def test_the_error_of_the_closed_share_is_that_of_the_jackknife() -> None:
    yardstick = LinearGaussian.random(SIZES, 2, seed=3)
    data, both = yardstick.sample(40), ("a", "b")
    model = make_iterative(yardstick)
    (row,) = gaps(model, data).select("closed_share")
    with torch.no_grad():
        path = model.refinement_path(model.prepare(data), 3)[1].iterates
    before, after = (bound_in_closed_form(yardstick, data, both, *q) for q in (path[0], path[-1]))
    gain, gap = after - before, yardstick.mean_field_elbo(data, both) - before
    without = (gain.sum() - gain) / (gap.sum() - gap)  # the ratio, each datum left out in turn
    assert row["stderr"] == pytest.approx(float((39 * without.var(correction=0)).sqrt()), rel=0.1)


def test_where_there_is_nothing_to_close_no_share_is_given() -> None:
    yardstick = LinearGaussian.orthogonal(SIZES, 2, seed=1)
    model = models.IterativeVAE.on(exact_model(yardstick, "MVAE"), num_steps=1, refinement_hidden=8)
    found = gaps(model, yardstick.sample(10))
    assert found.value("initial_gap") == pytest.approx(0, abs=1e-3)
    assert not found.select("closed_share")
    assert any(note.startswith("closed_share: left out") for note in found.notes)


def test_rows_are_those_that_have_the_subset() -> None:
    yardstick = LinearGaussian.orthogonal(SIZES, 2, seed=1)
    model, data = exact_model(yardstick, "MMVAE"), yardstick.sample(24)
    there = torch.arange(24) % 3 != 0
    holed = Batch(data, {"b": there})
    found = gaps(model, holed, subsets=["a", None])
    for subset, rows in ((("a",), slice(None)), (("a", "b"), there)):
        some = {name: each[rows] for name, each in data.items()}
        expected = yardstick.mean_field_elbo(some, subset) - closed(yardstick, some, subset, model)
        assert_mean(found, "amortization_gap", subset, expected)
    filled = Batch(data | {"b": torch.where(there[:, None], data["b"], torch.tensor(1e4))}, {"b": there})
    assert gaps(model, filled, subsets=["a", None]).rows == found.rows


def test_few_rows_bound_the_work_and_batches_change_nothing() -> None:
    yardstick = LinearGaussian.orthogonal(SIZES, 2, seed=1)
    model, data = exact_model(yardstick, "MMVAE"), yardstick.sample(100)
    whole = gaps(model, data, subsets=["a"])
    assert {row["n"] for row in whole.rows} == {64}
    assert gaps(model, data, subsets=["a"], batch_size=7).rows == whole.rows
    assert {row["n"] for row in gaps(model, data, subsets=["a"], likelihood_rows=8).rows} == {8}
    other = Batch(data, {"a": torch.arange(100) < 50, "b": torch.arange(100) >= 50})
    never = gaps(model, other, likelihood_rows=1)
    assert sum("raise likelihood_rows" in note for note in never.notes) == 1


def test_a_model_without_densities_is_noted(known, linear_data) -> None:
    found = gaps(known({"a": lambda z: z, "b": lambda z: z}, torch.eye(2)), linear_data())
    assert not found.rows
    assert found.notes == [
        "inference_gaps: left out, since Known has no generative program, on which a bound could be climbed."
    ]


def test_a_point_mass_is_noted(exact_model, linear_data, monkeypatch) -> None:
    model = exact_model()
    monkeypatch.setattr(model, "posterior", lambda batch: dist.Delta(torch.zeros(batch.size, 2), event_dim=1))
    found = gaps(model, linear_data())
    assert not found.rows
    assert "point mass" in found.notes[0]
