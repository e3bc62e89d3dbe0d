from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mmvae import Batch
from mmvae.evaluation import evaluate

METRICS = ["elbo", "log_likelihood", "conditional_log_likelihood"]
SUBSETS = [("a",), ("b",), ("a", "b")]


def test_everything_is_exact_for_exact_posteriors(exact_model, linear_data, log_likelihood_in_closed_form) -> None:
    data = linear_data(30)
    found = evaluate(exact_model(), data, METRICS, num_samples=50, progress=False)
    for subset in SUBSETS:
        expected = log_likelihood_in_closed_form(data, subset)
        for metric in ("elbo", "log_likelihood"):
            (row,) = found.select(metric, subset)
            assert row["value"] == pytest.approx(float(expected.mean()), abs=1e-5)
            assert row["stderr"] == pytest.approx(float(expected.std()) / 30**0.5, rel=1e-4)
            assert row["n"] == 30
        (row,) = found.select("log_likelihood", subset)
        assert row["ess"] == pytest.approx(50, rel=1e-4)
        assert row["pareto_k"] == 0
        assert row["pareto_k_high"] == 0
    joint = log_likelihood_in_closed_form(data, ("a", "b"))
    for given, target in (("a", "b"), ("b", "a")):
        expected = float((joint - log_likelihood_in_closed_form(data, (given,))).mean())
        assert found.value("conditional_log_likelihood", given, target) == pytest.approx(expected, abs=1e-5)
    assert len(found.select("conditional_log_likelihood")) == 2


def test_too_wide_a_proposal_lowers_the_bound_and_not_the_estimate(
    exact_model, linear_data, log_likelihood_in_closed_form
) -> None:
    data = linear_data(30)
    found = evaluate(exact_model(inflation=2.0), data, METRICS, num_samples=2000, progress=False)
    expected = float(log_likelihood_in_closed_form(data, ("a", "b")).mean())
    assert found.value("elbo", "a+b") < expected - 0.1
    assert found.value("log_likelihood", "a+b") == pytest.approx(expected, abs=0.02)
    (row,) = found.select("log_likelihood", "a+b")
    assert 100 < row["ess"] < 1900
    assert row["pareto_k"] < 0.5


def test_rows_that_lack_a_member_are_left_out(exact_model, linear_data, log_likelihood_in_closed_form) -> None:
    data = linear_data(20)
    there = torch.arange(20) % 4 != 0
    holed = Batch(data.data | {"b": data.data["b"].masked_fill(~there[:, None], float("nan"))})
    found = evaluate(exact_model(), holed, METRICS, num_samples=30, progress=False)
    for metric in ("log_likelihood", "elbo"):
        for subset, rows in ((("a",), slice(None)), (("b",), there), (("a", "b"), there)):
            expected = log_likelihood_in_closed_form(data[rows], subset)
            (row,) = found.select(metric, subset)
            assert row["n"] == len(expected)
            assert row["value"] == pytest.approx(float(expected.mean()), abs=1e-5)
    difference = log_likelihood_in_closed_form(data, ("a", "b")) - log_likelihood_in_closed_form(data, ("a",))
    assert found.value("conditional_log_likelihood", "a", "b") == pytest.approx(
        float(difference[there].mean()), abs=1e-5
    )


def test_few_draws_have_no_pareto_k(exact_model, linear_data) -> None:
    found = evaluate(exact_model(), linear_data(5), ["log_likelihood"], num_samples=10, progress=False)
    assert "pareto_k" not in found.rows[0]
    assert "10 draws are too few for pareto_k" in found.rows[0]["note"]
    assert found.rows[0]["ess"] == pytest.approx(10, rel=1e-4)


def with_weights(model: Any, monkeypatch: pytest.MonkeyPatch, change: Any) -> Any:
    """The model, whose importance weights a function changes."""
    honest = model.log_weights
    monkeypatch.setattr(model, "log_weights", lambda *arguments: change(honest(*arguments)))
    return model


def test_rows_whose_weights_are_not_finite_show_in_the_diagnostics(exact_model, linear_data, monkeypatch) -> None:
    def spoil(weights: torch.Tensor) -> torch.Tensor:
        weights[7, 0], weights[:, 1] = math.nan, -math.inf
        return weights

    model = with_weights(exact_model(), monkeypatch, spoil)
    found = evaluate(model, linear_data(20), METRICS, num_samples=50, progress=False)
    for metric in ("log_likelihood", "conditional_log_likelihood"):
        for row in found.select(metric):
            assert row["ess"] == pytest.approx(18 * 50 / 20, rel=1e-3)
            assert row["pareto_k_high"] == pytest.approx(0.1)
            assert "2 of 20 rows have weights that are not finite" in row["note"]
            assert any(row["note"] in note for note in found.notes)
    everywhere = with_weights(exact_model(), monkeypatch, lambda weights: weights + math.nan)
    (row,) = evaluate(everywhere, linear_data(5), ["log_likelihood"], subsets=["a"], progress=False).rows
    assert (row["ess"], row["pareto_k"], row["pareto_k_high"]) == (0, math.inf, 1)


def test_collapsed_weights_are_said(exact_model, linear_data, monkeypatch) -> None:
    model = with_weights(exact_model(), monkeypatch, lambda weights: weights + 100 * torch.randn_like(weights))
    found = evaluate(model, linear_data(20), ["log_likelihood"], num_samples=1000, progress=False)
    for row in found.rows:
        assert row["ess"] < 1.5
        assert row["pareto_k"] > 5
        assert row["pareto_k_high"] == 1
        assert "effective sample size near 1 in" in row["note"]
    assert sum("near 1" in note for note in found.notes) == len(found.rows)


def test_conditional_likelihoods_that_hang_on_one_draw_are_left_out_unless_asked_for(
    exact_model, linear_data, monkeypatch
) -> None:
    """They are the difference of two numbers that mean nothing."""
    model = with_weights(exact_model(), monkeypatch, lambda weights: weights + 100 * torch.randn_like(weights))
    name = "conditional_log_likelihood"
    by_default = evaluate(model, linear_data(20), num_samples=200, progress=False)
    assert by_default.select(name) == []
    assert (
        sum(note.startswith(name) and "left out, since most rows hang on one" in note for note in by_default.notes) == 2
    )
    assert len(evaluate(model, linear_data(20), [name], num_samples=200, progress=False).rows) == 2
    assert len(evaluate(exact_model(), linear_data(20), num_samples=200, progress=False).select(name)) == 2


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_few_draws_are_not_said_to_have_collapsed(exact_model, linear_data, num_samples: int) -> None:
    found = evaluate(exact_model(), linear_data(5), ["log_likelihood"], num_samples=num_samples, progress=False)
    assert not any("near 1" in row["note"] for row in found.rows)


def test_likelihood_rows_bound_the_work(exact_model, linear_data) -> None:
    found = evaluate(exact_model(), linear_data(50), METRICS, num_samples=5, likelihood_rows=8, progress=False)
    assert {row["n"] for row in found.rows} == {8}
