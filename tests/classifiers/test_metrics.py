from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, nn

import mmvae
from mmvae import Batch, Latents
from mmvae.distributions import point_mass
from mmvae.evaluation import OBSERVED, Unavailable, classification_scores, evaluate
from mmvae.subsets import canonical

METRICS = ["classification"]


class Votes(nn.Module):
    """A classifier whose logits are the sum of the data of the modalities that are there."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> Latents:
        batch = batch.restrict(None if subset is None else canonical(subset, self.names))
        return Latents(point_mass(sum(batch.data.values())), batch.names)

    def predict(self, latents: Latents) -> Tensor:
        return latents.mean


def one_hot(classes: list[int], count: int = 3) -> Tensor:
    return nn.functional.one_hot(torch.tensor(classes), count).float()


def test_accuracy_and_f1_of_classes_by_hand() -> None:
    predicted, truth = one_hot([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    scores = classification_scores(predicted, truth)
    # Class 0: one hit, one false alarm, F1 = 2/3. Class 1: two hits, one miss, F1 = 4/5. Class 2 never occurs.
    assert scores["accuracy"][0] == 0.75
    assert scores["f1_macro"][0] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores["accuracy"][1] == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    assert "auroc" not in scores


def test_perfect_accuracy_on_few_rows_is_not_certain() -> None:
    scores = classification_scores(one_hot([0, 1, 1, 1]), torch.tensor([0, 1, 1, 1]))
    assert scores["accuracy"] == (1, pytest.approx((0.75 * 0.25 / 8) ** 0.5))


def test_f1_and_auroc_of_labels_by_hand() -> None:
    logits = torch.tensor([[2.0, -1.0, 1.0], [-1.0, 3.0, 1.0], [1.0, -2.0, 1.0], [-3.0, -0.5, 1.0]])
    labels = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 1], [0, 1, 1]])
    scores = classification_scores(logits, labels)
    # Columns: TP 1 FP 1 FN 1; TP 1 FP 0 FN 1; TP 4.
    assert scores["f1_micro"][0] == pytest.approx(12 / (12 + 3))
    assert scores["f1_macro"][0] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    # Of the four pairs in the first column three are in order, of those in the second four; the third has no pairs.
    assert scores["auroc"][0] == pytest.approx((3 / 4 + 1) / 2)
    assert "accuracy" not in scores


def test_numbers_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(200, 4, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.9])
    logits = (labels + torch.randn(200, 4, generator=generator)).mul(3).round() / 3 - 0.6  # with ties
    scores = classification_scores(logits, labels.float())
    for average in ("micro", "macro"):
        expected = f1_score(labels.numpy(), (logits > 0).numpy(), average=average)
        assert scores[f"f1_{average}"][0] == pytest.approx(expected)
    assert scores["auroc"][0] == pytest.approx(roc_auc_score(labels.numpy(), logits.numpy()))
    classes = labels.long().argmax(1)
    expected = f1_score(classes.numpy(), logits.argmax(1).numpy(), average="macro")
    assert classification_scores(logits, classes)["f1_macro"][0] == pytest.approx(expected)


def test_standard_errors_are_those_of_repeated_data() -> None:
    generator = torch.Generator().manual_seed(0)
    draws: dict[str, list[tuple[float, float]]] = {}
    for _ in range(400):
        labels = torch.rand(150, 3, generator=generator) < torch.tensor([0.3, 0.5, 0.7])
        logits = labels + torch.randn(150, 3, generator=generator) - 0.5
        for name, score in classification_scores(logits, labels).items():
            draws.setdefault(name, []).append(score)
        for name, score in classification_scores(logits, labels.long().argmax(1)).items():
            draws.setdefault(f"classes {name}", []).append(score)
    assert len(draws) == 5
    for name, scores in draws.items():
        values, errors = torch.tensor(scores, dtype=torch.float64).unbind(1)
        assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.15), name


def test_one_logit_two_logits_and_one_label_are_one_task() -> None:
    generator = torch.Generator().manual_seed(0)
    score, truth = torch.randn(30, 1, generator=generator), torch.arange(30) % 2
    one = classification_scores(score, truth)
    two = classification_scores(torch.cat([torch.ones(30, 1), 1 + score], 1), truth)
    for name in ("accuracy", "f1_macro", "auroc"):
        assert one[name] == pytest.approx(two[name])
    assert classification_scores(score, truth[:, None])["auroc"] == pytest.approx(one["auroc"])
    assert one["auroc"][0] == pytest.approx(roc_auc_score(truth.numpy(), score[:, 0].numpy()))


def test_labels_that_do_not_fit_are_named() -> None:
    logits = one_hot([0, 1])
    for labels, words in (
        (torch.tensor([0, 3]), "no classes from 0 to 2"),
        (torch.tensor([0.5, 1.0]), "no classes from 0 to 2"),
        (torch.zeros(2, 4), "predicts 3 classes or labels"),
        (torch.full((2, 3), 2), "0 and 1 alone"),
    ):
        with pytest.raises(Unavailable, match=words):
            classification_scores(logits, labels)


def test_every_subset_has_its_rows_and_incomplete_data_rows_of_all(known: Any) -> None:
    truth = torch.tensor([0, 1, 2, 0, 1, 2])
    right, wrong = one_hot(truth.tolist()), one_hot(truth.roll(1).tolist())
    there = {"a": torch.tensor([True, True, True, True, False, False]), "b": torch.arange(6) >= 3}
    data = Batch({"a": right * 2, "b": wrong}, there, truth)
    found = evaluate(Votes("a", "b"), data, METRICS, progress=False)
    rows = {row["given"]: (row["value"], row["n"]) for row in found.select("accuracy")}
    # b is wrong, but a outvotes it where both are there.
    assert rows == {"a": (1, 4), "b": (0, 3), "a+b": (1, 1), OBSERVED: (pytest.approx(4 / 6), 6)}
    whole = evaluate(Votes("a", "b"), Batch({"a": right, "b": wrong}, labels=truth), METRICS, progress=False)
    assert {row["given"] for row in whole.rows} == {"a", "b", "a+b"}
    named = evaluate(Votes("a", OBSERVED), Batch({"a": right, OBSERVED: wrong}, {"a": there["a"]}, truth), METRICS)
    assert named.value("accuracy", OBSERVED) == 0
    assert "a modality is called 'observed'" in named.notes[0]


def test_other_models_are_noted_only_where_it_was_asked_for(exact_model: Any, linear_data: Any) -> None:
    small: dict[str, Any] = {"num_samples": 2, "max_data": 20, "progress": False}
    asked = evaluate(exact_model(), linear_data(), METRICS, **small)
    assert asked.notes == ["classification: left out, since MVAE does not classify (it has no method predict)."]
    assert not any("predict" in note for note in evaluate(exact_model(), linear_data(), **small).notes)
    bare = evaluate(Votes("a"), {"a": one_hot([0, 1])}, METRICS, progress=False)
    assert bare.notes == [
        "classification: left out, since the data has no class labels (one whole number or name for each row)."
    ]


@pytest.mark.parametrize("labels", [torch.arange(60) % 3, torch.arange(180).reshape(60, 3) % 2])
def test_a_classifier_is_evaluated_by_default_in_all_that_applies(labels: Tensor) -> None:
    torch.manual_seed(0)
    data = Batch({"a": torch.randn(60, 3), "b": torch.randn(60, 3)}, {"b": torch.arange(60) > 9}, labels)
    found = evaluate(Votes("a", "b"), data, train=data, max_data=60, progress=False)
    metrics = {row["metric"] for row in found.rows}
    common = {"f1_macro", "cosine", "cosine_shuffled", "canonical_correlation", "active_units"}
    if labels.ndim == 1:
        clusters = {"clustering_nmi", "clustering_ari", "clustering_accuracy"}
        probes = {"linear_probe", "linear_probe_all", "linear_probe_protocol"}
        assert metrics == common | {"accuracy"} | clusters | probes
    else:
        assert metrics == common | {"f1_micro", "auroc"}
    for metric in ("elbo", "log_likelihood", "coherence", "joint_coherence", "frechet"):
        assert any(note.startswith(f"{metric}: left out") for note in found.notes)
    assert not any(note.startswith("codebook") for note in found.notes)


def test_logits_are_those_of_the_model() -> None:
    class Offset(Votes):
        def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> Latents:
            latents = super().infer(batch, subset)
            return Latents(latents.distribution, latents.subset, diagnostics={"turn": torch.ones(len(latents))})

        def predict(self, latents: Latents) -> Tensor:
            return latents.mean.roll(1, 1) * latents.diagnostics["turn"][:, None]

    data = Batch({"a": one_hot([0, 1, 2, 0])}, labels=torch.tensor([1, 2, 0, 1]))
    found = mmvae.evaluate(Offset("a"), data, METRICS, batch_size=3, progress=False)
    assert found.value("accuracy", "a") == 1
