from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from mmvae import Batch, Modality, likelihoods, models
from mmvae.evaluation import Evaluation, evaluate
from mmvae.testing import LinearGaussian, exact_model

METRICS = ["student_kl", "student_mean_distance", "student_scale_ratio"]


def students(model: Any, data: Any, **arguments: Any) -> Evaluation:
    return evaluate(model, data, ["students"], progress=False, **arguments)


def by_hand(student: tuple[Any, Any], teacher: tuple[Any, Any]) -> dict[str, list[float]]:
    """The numbers of each datum, from locations and scales as nested lists, in plain Python."""
    found: dict[str, list[float]] = {"kl": [], "distance": [], "log_ratio": []}
    for mean, scale, target, spread in zip(*student, *teacher, strict=True):
        both = list(zip(mean, scale, target, spread, strict=True))
        kl = [math.log(s / t) + (t * t + (m - u) ** 2) / (2 * s * s) - 0.5 for m, s, u, t in both]
        found["kl"].append(sum(kl))
        found["distance"].append(math.sqrt(sum(((m - u) / s) ** 2 for m, s, u, _ in both) / len(both)))
        found["log_ratio"].append(sum(math.log(s / t) for _, s, _, t in both) / len(both))
    return found


def mean_and_error(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((each - mean) ** 2 for each in values) / (len(values) - 1) / len(values))


def posterior(model: Any, data: Any, subset: Any = None) -> tuple[Any, Any]:
    with torch.no_grad():
        latents = model.infer(data, subset)
    return latents.mean.double().tolist(), latents.scale.double().tolist()


def assert_by_hand(found: Evaluation, name: str, expected: dict[str, list[float]]) -> None:
    for metric, values in zip(METRICS, expected.values(), strict=True):
        (row,) = found.select(metric, name)
        mean, error = mean_and_error(values)
        if metric == "student_scale_ratio":
            mean, error = math.exp(mean), math.exp(mean) * error
        assert row["value"] == pytest.approx(mean, rel=1e-4)
        assert row["stderr"] == pytest.approx(error, rel=1e-3, abs=1e-6)
        assert row["n"] == len(values)
        assert row["target"] == ""


@pytest.mark.parametrize("kind", ["MVAE", "JMVAE"])
def test_students_are_those_of_a_loop(kind: str) -> None:
    torch.manual_seed(1)
    modalities = [Modality(name, (3,), likelihoods.Normal(), encoder=nn.Flatten()) for name in "abc"]
    options = {"trunk_width": 8, "hidden": 8} if kind == "JMVAE" else {}
    model = getattr(models, kind)(modalities, latent_dim=2, **options)
    data = {name: torch.randn(12, 3) for name in "abc"}
    found = students(model, data)
    for name in "abc":
        assert_by_hand(found, name, by_hand(posterior(model, data, name), posterior(model, data)))
    assert len(found.rows) == 9
    assert_close(found, students(model, data, batch_size=5))


def assert_close(one: Evaluation, other: Evaluation) -> None:
    assert len(one.rows) == len(other.rows)
    for row in one.rows:
        assert other.value(row["metric"], row["given"]) == pytest.approx(row["value"], rel=1e-4)


def test_exact_students_are_as_far_off_as_theory_says() -> None:
    """Of z given x_S and given all: the scales are known, and the squared distance of the means in expectation."""
    yardstick = LinearGaussian.orthogonal({"a": 4, "b": 5}, 2, seed=1)
    found = students(exact_model(yardstick, "JMVAE"), yardstick.sample(4000), max_data=4000)
    whole = 1 + yardstick.precisions["a"].diagonal() + yardstick.precisions["b"].diagonal()
    for name in ("a", "b"):
        own = 1 + yardstick.precisions[name].diagonal()
        assert found.value("student_scale_ratio", name) == pytest.approx(
            float((whole / own).log().mean().mul(0.5).exp()), rel=1e-4
        )
        # Var(z | x_m) = Var(z | x) + Var of the teacher's mean given x_m, so E KL = Σ log(s / t)
        (row,) = found.select("student_kl", name)
        assert row["value"] == pytest.approx(float(0.5 * (whole / own).log().sum()), abs=4 * row["stderr"])


def test_the_refined_posterior_is_the_teacher() -> None:
    modalities = [Modality(name, (3,), likelihoods.Normal(), encoder=nn.Flatten()) for name in "ab"]
    model = models.IterativeVAE(modalities, 2, base="mvae", num_steps=2, refinement_hidden=8)
    data = {name: torch.randn(9, 3) for name in "ab"}
    with torch.no_grad():
        refined = model.refinement_path(model.prepare(data), 2)[1].iterates[-1]
    teacher = refined.loc.tolist(), refined.scale.tolist()
    found = students(model, data)
    for name in "ab":
        assert_by_hand(found, name, by_hand(posterior(model, data, name), teacher))


def test_mixtures_have_no_kl_and_the_rest_by_their_moments() -> None:
    yardstick = LinearGaussian.orthogonal({"a": 4, "b": 5}, 2, seed=1)
    model, data = exact_model(yardstick, "MMVAE"), yardstick.sample(30)
    found = students(model, data)
    assert not found.select("student_kl")
    assert found.notes == [
        "student_kl: left out, since KL(teacher || student) has no closed form for these posteriors."
    ]
    expected = by_hand(posterior(model, data, "a"), posterior(model, data))
    assert found.value("student_mean_distance", "a") == pytest.approx(mean_and_error(expected["distance"])[0], rel=1e-4)
    ratio = math.exp(mean_and_error(expected["log_ratio"])[0])
    assert found.value("student_scale_ratio", "a") == pytest.approx(ratio, rel=1e-4)


def test_rows_are_those_that_have_everything() -> None:
    yardstick = LinearGaussian.orthogonal({"a": 4, "b": 5}, 2, seed=1)
    model, data = exact_model(yardstick, "JMVAE"), yardstick.sample(12)
    there = torch.arange(12) % 4 != 1
    found = students(model, Batch(data | {"b": data["b"].masked_fill(~there[:, None], 1e4)}, {"b": there}))
    some = {name: each[there] for name, each in data.items()}
    assert_by_hand(found, "a", by_hand(posterior(model, some, "a"), posterior(model, some)))


def test_what_cannot_be_compared_is_noted(known, linear_data, exact_model) -> None:
    point = students(known({"a": lambda z: z, "b": lambda z: z}, torch.eye(2)), linear_data())
    assert "point mass" in point.notes[0]
    alone = students(exact_model(), {"a": linear_data().data["a"]})
    assert "single modality" in alone.notes[0]
    apart = Batch(linear_data().data, {"a": torch.arange(60) < 30, "b": torch.arange(60) >= 30})
    never = students(exact_model(), apart)
    assert "no data point has every modality" in never.notes[0]
    assert not point.rows
    assert not alone.rows
    assert not never.rows
