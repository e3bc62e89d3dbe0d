from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.evaluation import METRICS, Context, Evaluation, Unavailable, evaluate, make_row, suite
from mmvae.evaluation.suite import default_subsets

SMALL: dict[str, Any] = {"num_samples": 25, "max_data": 60, "progress": False}


class Linear(nn.Module):
    """A classifier with features, fixed at random."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body, self.head = nn.Linear(2, 3), nn.Linear(3, 4)

    def features(self, data: torch.Tensor) -> torch.Tensor:
        return self.body(data)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(data))


def judges(*names: str) -> dict[str, nn.Module]:
    return {name: Linear() for name in names}


def values(evaluation: Evaluation) -> dict[tuple[Any, ...], float]:
    return {(row["metric"], frozenset(row["given"].split("+")), row["target"]): row["value"] for row in evaluation.rows}


def assert_same(first: Evaluation, second: Evaluation, tolerance: float = 1e-4) -> None:
    one, other = values(first), values(second)
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert other[key] == pytest.approx(value, rel=tolerance, abs=tolerance), key


@pytest.mark.parametrize("recipe", [models.MVAE, models.MMVAE, models.MoPoE, models.JMVAE, models.MVTCAE])
def test_every_model_is_evaluated_in_full(recipe: Any, linear_data) -> None:
    modalities = [
        Modality(name, (2,), likelihoods.Normal(), encoder=lambda: nn.Linear(2, 4), decoder=lambda d: nn.Linear(d, 2))
        for name in ("a", "b")
    ]
    arguments = {"trunk_width": 4, "hidden": 4} if recipe is models.JMVAE else {}
    model = recipe(modalities, latent_dim=2, **arguments)
    found = evaluate(model, linear_data(), train=linear_data(seed=1), classifiers=judges("a", "b"), **SMALL)
    subsets = {"a", "b", "a+b"}
    for metric in ("linear_probe", "linear_probe_all", "elbo", "log_likelihood", "active_units"):
        assert {row["given"] for row in found.select(metric)} == subsets
    for metric, rows in (("coherence", 6), ("classifier_feature_fd", 8), ("conditional_log_likelihood", 2)):
        assert len(found.select(metric)) == rows
    for metric in ("cosine", "cosine_shuffled", "classifier_accuracy"):
        assert len(found.select(metric)) == 2
    assert len(found.select("joint_coherence")) == 1
    assert found.notes == ["fid: left out, since there are no Inception weights; pass inception_weights=."]
    assert all(row["value"] == row["value"] for row in found.rows)


def test_batches_and_repetition_change_nothing(exact_model, linear_data) -> None:
    model = exact_model(inflation=1.5)
    arguments = {"train": linear_data(seed=1), "classifiers": judges("a", "b"), **SMALL}
    whole = evaluate(model, linear_data(), **arguments)
    torch.manual_seed(999)
    assert_same(whole, evaluate(model, linear_data(), batch_size=7, **arguments))
    assert values(evaluate(model, linear_data(), seed=1, **arguments)) != values(whole)


def test_neither_other_metrics_nor_the_order_of_names_change_a_number(exact_model, linear_data) -> None:
    arguments = {"classifiers": judges("a", "b"), **SMALL}
    model, data = exact_model(inflation=1.5), linear_data()
    whole = evaluate(model, data, **arguments)
    turned = Batch(dict(reversed(data.data.items())), labels=data.labels)
    assert_same(whole, evaluate(model, turned, subsets=[["b", "a"], "b", "a"], **arguments))
    alone = evaluate(model, data, ["coherence"], **arguments)
    for row in alone.rows:
        assert row in whole.rows
    assert_same(whole, evaluate(exact_model(("b", "a"), inflation=1.5), data, **arguments))


def test_values_under_a_false_mask_reach_no_number(exact_model, linear_data) -> None:
    there = {"b": torch.arange(60) % 3 != 0}
    data, train = linear_data(), linear_data(seed=1)

    def padded(batch: Batch, fill: float) -> Batch:
        b = torch.where(there["b"][:, None], batch.data["b"], torch.tensor(fill))
        return Batch(batch.data | {"b": b}, there, batch.labels)

    arguments = {"classifiers": judges("a", "b"), **SMALL}
    model = exact_model()
    clean = evaluate(model, padded(data, 0.0), train=padded(train, 0.0), **arguments)
    dirty = evaluate(model, padded(data, 1e4), train=padded(train, -1e4), **arguments)
    assert clean.rows == dirty.rows
    dropped = Batch({name: value[there["b"]] for name, value in data.data.items()}, labels=data.labels[there["b"]])
    expected = evaluate(model, dropped, ["active_units", "log_likelihood"], subsets=["b", None], **SMALL)
    for row in expected.rows:
        assert clean.value(row["metric"], row["given"]) == pytest.approx(row["value"], rel=1e-4)


def test_model_and_global_state_are_as_before(exact_model, linear_data) -> None:
    model, judged = exact_model(), judges("a", "b")
    model.train()
    model.decoders.eval()
    judged["a"].train()
    modes = [part.training for part in [*model.modules(), *judged["a"].modules()]]
    state, weights = torch.get_rng_state(), [parameter.clone() for parameter in model.parameters()]

    def fails(context: Context) -> Iterator[dict[str, Any]]:
        assert not torch.is_grad_enabled()
        assert not any(part.training for part in context.model.modules())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, linear_data(), ["coherence", fails], classifiers=judged, **SMALL)
    assert [part.training for part in [*model.modules(), *judged["a"].modules()]] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before, now) for before, now in zip(weights, model.parameters(), strict=True))
    assert torch.is_grad_enabled()


def test_a_metric_of_ones_own(exact_model, linear_data) -> None:
    def mean_norm(context: Context) -> Iterator[dict[str, Any]]:
        for subset in context.each_subset("norm"):
            yield make_row("mean_norm", float(context.inferred(subset).mean.norm(dim=-1).mean()), subset)

    def impossible(context: Context) -> list[dict[str, Any]]:
        raise Unavailable("nobody knows")

    def bare(context: Context) -> list[dict[str, Any]]:
        return [{"value": 3.0}]

    model, data = exact_model(), linear_data()
    found = evaluate(model, data, [mean_norm, impossible, bare], **SMALL)
    expected = model.infer(data, "a").mean.detach().norm(dim=-1).mean()
    assert found.value("mean_norm", "a") == pytest.approx(float(expected))
    assert found.notes == ["impossible: left out, since nobody knows."]
    assert found.value("bare") == 3


def test_without_labels_the_rest_is_there_and_notes_say_why(exact_model, linear_data) -> None:
    found = evaluate(exact_model(), linear_data().data, **SMALL)
    assert {row["metric"] for row in found.rows} == {
        "cosine", "cosine_shuffled", "elbo", "log_likelihood", "conditional_log_likelihood", "active_units",
        "canonical_correlation", "imputation", "imputation_column",
    }  # fmt: skip
    for metric in ("linear_probe", "coherence", "joint_coherence", "classifier_feature_fd", "classifier_accuracy"):
        assert any(note.startswith(metric) for note in found.notes)


def test_classifiers_are_trained_on_the_training_data(exact_model, linear_data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(suite, "train_classifiers", functools.partial(suite.train_classifiers, steps=40))
    data = linear_data()
    data.labels = (data.data["a"][:, 0] > 0).long()
    found = evaluate(exact_model(), data, ["coherence"], train=data, cache=tmp_path, **SMALL)
    assert found.value("classifier_accuracy", target="a") > 0.9
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_point_masses_have_no_densities(known, linear_data) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(2))
    found = evaluate(model, linear_data(), train=linear_data(seed=1), classifiers=judges("a", "b"), **SMALL)
    assert {"linear_probe", "cosine", "coherence", "joint_coherence"} <= {row["metric"] for row in found.rows}
    assert not found.select("elbo")
    assert any(note.startswith("log_likelihood: left out") and "densities" in note for note in found.notes)
    model.log_weights = lambda batch, subset, num_samples: torch.zeros(num_samples, len(batch))
    weighing = evaluate(model, linear_data(), ["elbo"], **SMALL)
    assert "point mass" in weighing.notes[0]


def test_a_model_that_does_not_generate_is_noted(known, linear_data) -> None:
    class Infers(nn.Module):
        names, modalities = ("a", "b"), ()

        def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> mmvae.Latents:
            return known({"a": lambda z: z, "b": lambda z: z}, torch.eye(2)).infer(batch, subset)

    found = evaluate(Infers(), linear_data(), classifiers=judges("a", "b"), **SMALL)
    assert found.select("active_units")
    for metric in ("coherence", "joint_coherence", "frechet"):
        assert any(note.startswith(metric) and "does not generate" in note for note in found.notes)


def test_subsets_are_the_powerset_while_it_is_small() -> None:
    assert len(default_subsets("abcd")) == 15
    assert len(default_subsets("abcde")) == 11
    assert default_subsets("a") == [("a",)]


def test_subsets_that_the_data_lacks_are_noted(exact_model, linear_data) -> None:
    only_a = {"a": linear_data().data["a"]}
    found = evaluate(exact_model(), only_a, ["active_units"], subsets=["a", "b", ("a", "b")], **SMALL)
    assert {row["given"] for row in found.rows} == {"a"}
    assert len(found.notes) == 2
    apart = Batch(linear_data().data, {"a": torch.arange(60) < 30, "b": torch.arange(60) >= 30})
    never = evaluate(exact_model(), apart, ["active_units"], **SMALL)
    assert {row["given"] for row in never.rows} == {"a", "b"}
    assert "no data point has all of it" in never.notes[0]


def test_at_most_max_data_points_are_looked_at(exact_model, linear_data) -> None:
    found = evaluate(exact_model(), linear_data(), ["active_units"], max_data=25, progress=False)
    assert {row["n"] for row in found.rows} == {25}
    assert found.settings["n"] == 25


def test_bad_arguments_are_named(exact_model, linear_data) -> None:
    model, data = exact_model(), linear_data()
    with pytest.raises(ValueError, match="unknown metric 'fd'"):
        evaluate(model, data, ["fd"], **SMALL)
    with pytest.raises(ValueError, match="write \\['coherence'\\]"):
        evaluate(model, data, "coherence", **SMALL)
    with pytest.raises(ValueError, match="unknown modality 'c'"):
        evaluate(model, data, subsets=["c"], **SMALL)
    with pytest.raises(ValueError, match="write \\['ab'\\]"):
        evaluate(model, data, subsets="ab", **SMALL)
    with pytest.raises(ValueError, match="num_samples"):
        evaluate(model, data, **(SMALL | {"num_samples": 0}))
    with pytest.raises(ValueError, match="none of the model's modalities"):
        evaluate(model, {"c": torch.rand(3, 2)}, **SMALL)
    assert set(METRICS) >= {"linear_probe", "frechet"}


def test_a_metric_that_fails_is_a_note_and_costs_no_other(exact_model, linear_data) -> None:
    def breaks(context):
        yield make_row("breaks", 1.0)
        raise RuntimeError("no memory left")

    def wordless(context):
        raise ZeroDivisionError

    found = evaluate(exact_model(), linear_data(), [breaks, wordless, "cosine"], **SMALL)
    assert found.value("breaks") == 1.0  # what came before it failed
    assert found.select("cosine")
    assert "breaks: failed. RuntimeError: no memory left." in found.notes
    assert "wordless: failed. ZeroDivisionError." in found.notes


def test_data_that_does_not_fit_is_an_error_and_no_note(exact_model, linear_data) -> None:
    with pytest.raises(ValueError, match="a: expected"):
        evaluate(exact_model(), {"a": torch.rand(3, 7)}, ["cosine"], **SMALL)


def test_progress_leaves_no_trace_in_the_numbers(exact_model, linear_data, capsys) -> None:
    shown = evaluate(exact_model(), linear_data(), ["cosine"], progress=True)
    assert_same(shown, evaluate(exact_model(), linear_data(), ["cosine"], progress=False), 1e-7)
