from __future__ import annotations

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
    assert found.rows[0]["ess"] == pytest.approx(10, rel=1e-4)


def test_likelihood_rows_bound_the_work(exact_model, linear_data) -> None:
    found = evaluate(exact_model(), linear_data(50), METRICS, num_samples=5, likelihood_rows=8, progress=False)
    assert {row["n"] for row in found.rows} == {8}
