"""Rows whose class is not known are left out of what needs classes, whatever they are called, and a note says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mmvae import Batch, Modality, evaluate, likelihoods, models
from mmvae.evaluation import Context, make_row

QUICK: dict[str, Any] = {"num_samples": 2, "progress": False}
METRICS = ["linear_probe", "classifier_accuracy", "coherence", "retrieval", "transfer"]
EVERY_FOURTH = torch.arange(60) % 4 == 0

FORMS: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "-1": lambda classes, hidden: torch.where(hidden, -1, classes),
    "None": lambda classes, hidden: [None if h else int(c) for c, h in zip(classes, hidden, strict=True)],
    "NaN": lambda classes, hidden: torch.where(hidden, torch.nan, classes.double()),
    "masked": lambda classes, hidden: np.ma.masked_array(classes.numpy().astype(np.uint8), hidden.numpy()),
    "names": lambda classes, hidden: [None if h else "abc"[c] for c, h in zip(classes, hidden, strict=True)],
}


def small_model() -> models.MVTCAE:
    torch.manual_seed(0)
    return models.MVTCAE([Modality(name, (4,), likelihoods.Normal()) for name in "ab"], latent_dim=2)


def rows_of(model: Any, train: Batch, test: Batch, metrics: Any = METRICS) -> tuple[list[Any], list[str]]:
    found = evaluate(model, test, metrics, train=train, **QUICK)
    return found.rows, found.notes


@pytest.fixture(scope="module")
def data() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(60, 4, generator=generator) for name in "ab"}


@pytest.fixture(autouse=True)
def _quick_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmvae.evaluation import suite

    train = suite.train_classifiers
    monkeypatch.setattr(suite, "train_classifiers", lambda *args, **options: train(*args, steps=20, **options))


def test_every_way_of_saying_unknown_gives_the_same_numbers(data: dict[str, torch.Tensor]) -> None:
    model, classes = small_model(), torch.arange(60) % 3
    found = {}
    for form, make in FORMS.items():
        batch = Batch(data, labels=make(classes, EVERY_FOURTH))
        found[form], notes = rows_of(model, batch, batch)
        assert "labels: 15 of 60 rows of the data have no class; what needs classes leaves them out." in notes, form
        assert sum("15 of 60 rows of the training data" in note for note in notes) == 1, form
        assert not any("failed" in note for note in notes), notes
    assert all(rows == found["-1"] for rows in found.values())
    measured = {row["metric"] for row in found["-1"]}
    assert {"linear_probe_all", "coherence", "classifier_accuracy", "retrieval_map", "transfer"} <= measured
    for row in found["-1"]:
        if row["metric"].startswith(("linear", "coherence", "classifier", "transfer")) and "n" in row:
            assert row["n"] == 45, row


def test_rows_without_a_class_change_no_number_of_the_others(data: dict[str, torch.Tensor]) -> None:
    model, classes = small_model(), torch.arange(60) % 3
    known = Batch({name: value[~EVERY_FOURTH] for name, value in data.items()}, labels=classes[~EVERY_FOURTH])
    some = Batch(data, labels=FORMS["None"](classes, EVERY_FOURTH))
    metrics = ["linear_probe", "retrieval"]
    with_unknown, without = (rows_of(model, each, each, metrics)[0] for each in (some, known))
    for row, expected in zip(with_unknown, without, strict=True):
        assert row["metric"] == expected["metric"]
        if row["metric"] in ("linear_probe_all", "retrieval_map", "retrieval_r1", "retrieval_r5", "retrieval_r10"):
            assert row["value"] == pytest.approx(expected["value"], abs=1e-9), row["metric"]  # the others draw rows


def test_names_of_classes_are_numbered_alike_in_training_and_test_data(data: dict[str, torch.Tensor]) -> None:
    """The test data lacks a class, so that its own numbering is another one."""
    model, classes = small_model(), torch.arange(60) % 3
    test = {name: value[classes > 0] for name, value in data.items()}
    names = ["abc"[each] for each in classes]
    numbered = rows_of(model, Batch(data, labels=classes), Batch(test, labels=classes[classes > 0]))
    named = rows_of(model, Batch(data, labels=names), Batch(test, labels=[each for each in names if each != "a"]))
    assert named[0] == numbered[0]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "has no class labels"),
        (torch.rand(60), "has real numbers as labels"),
        (torch.ones(60, 3), "has labels of shape (3,) for each row"),
        ([None] * 60, "has no row whose class is known"),
    ],
)
def test_labels_that_are_no_classes_are_said_to_be(data: dict[str, torch.Tensor], labels: Any, reason: str) -> None:
    batch = Batch(data, labels=labels)
    rows, notes = rows_of(small_model(), batch, batch)
    assert not rows
    assert len([note for note in notes if reason in note]) == len(METRICS)


def test_classes_that_training_lacks_and_single_classes_are_noted(data: dict[str, torch.Tensor]) -> None:
    model = small_model()
    train, test = Batch(data, labels=torch.arange(60) % 2), Batch(data, labels=torch.arange(60) % 3)
    _, notes = rows_of(model, train, test, ["linear_probe"])
    assert "labels: 20 data points are of classes that the training data lacks, and count as wrong." in notes
    rows, notes = rows_of(model, train, Batch(data, labels=torch.zeros(60)), ["linear_probe", "retrieval"])
    assert "labels: the data has a single class; scores of telling classes apart mean little." in notes
    assert "retrieval: left out, since the data is of a single class, of which every answer is right." in notes
    assert {row["metric"] for row in rows} == {"linear_probe", "linear_probe_all", "linear_probe_protocol"}


def test_judges_given_by_hand_are_checked_against_the_labels(data: dict[str, torch.Tensor]) -> None:
    judges = {name: torch.nn.Linear(4, 2) for name in "ab"}
    found = evaluate(
        small_model(), Batch(data, labels=torch.arange(60) % 3), ["coherence"], classifiers=judges, **QUICK
    )
    assert any(
        "the classifier of a tells 2 classes apart, but the labels of the data go up to 2" in n for n in found.notes
    )
    named = Batch(data, labels=["cat", "dog"] * 30)
    notes = evaluate(small_model(), named, ["coherence"], classifiers=judges, **QUICK).notes
    assert any("the labels are names, and the classifiers know numbers alone" in note for note in notes)


def test_a_judge_of_one_logit_answers_by_its_sign(data: dict[str, torch.Tensor]) -> None:
    class Sign(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :1]

    batch = Batch(data, labels=(data["a"][:, 0] > 0))
    found = evaluate(small_model(), batch, ["classifier_accuracy"], classifiers={"a": Sign()}, **QUICK)
    assert found.value("classifier_accuracy", target="a") == 1.0


def test_names_and_numbers_in_one_evaluation_are_refused(data: dict[str, torch.Tensor]) -> None:
    named, numbered = Batch(data, labels=["cat", "dog"] * 30), Batch(data, labels=torch.arange(60) % 2)
    with pytest.raises(ValueError, match="labels: some are names of classes and others numbers"):
        evaluate(small_model(), named, ["linear_probe"], train=numbered, **QUICK)


def test_metrics_of_ones_own_see_the_same_labels(data: dict[str, torch.Tensor]) -> None:
    def share_known(context: Context) -> Any:
        yield make_row("known", float((context.labels >= 0).double().mean()))

    batch = Batch(data, labels=FORMS["NaN"](torch.arange(60) % 3, EVERY_FOURTH))
    found = evaluate(small_model(), batch, [share_known], **QUICK)
    assert math.isclose(found.value("known"), 0.75)
