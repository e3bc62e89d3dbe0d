from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mmvae import Batch
from mmvae.evaluation import Labelled, LogisticHead, StepHead, evaluate, flattened, pooled, transfer_matrix
from mmvae.evaluation.transfer import few_of_each

METRICS = ["transfer"]
IDENTITY = {"a": lambda z: z, "b": lambda z: z}
CLASSES = torch.arange(120) % 4


def around(centres: Tensor, seed: int, noise: float = 0.1, labels: Tensor = CLASSES) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    return Labelled(centres[labels] + noise * torch.randn(len(labels), centres.shape[1], generator=generator), labels)


def three_parts(centres: dict[str, Tensor], **options: Any) -> list[dict[str, Labelled]]:
    return [{name: around(each, seed, **options) for name, each in centres.items()} for seed in range(3)]


@pytest.mark.parametrize("head", [LogisticHead(), StepHead(epochs=15, rates=(0.03,))])
def test_what_modalities_share_transfers_and_the_rest_does_not(head: Any) -> None:
    same, swapped = torch.eye(4), torch.eye(4)[[1, 0, 2, 3]]
    found = transfer_matrix(*three_parts({"a": same, "b": same, "c": swapped}), head)
    for pair, expected in {("a", "a"): 1, ("a", "b"): 1, ("c", "c"): 1, ("a", "c"): 0.5, ("c", "b"): 0.5}.items():
        assert found.accuracy[pair] == expected
    assert found.mean() == pytest.approx((2 * 1 + 4 * 0.5) / 6)
    assert found.mean([("a", "b"), ("b", "a")]) == 1
    assert found.ratio("a", "c") == 0.5
    rows = {(row["metric"], row["given"], row["target"]): row for row in found.rows()}
    assert len(rows) == 11
    assert rows["transfer_mean", "", ""]["value"] == rows["transfer_ratio", "", ""]["value"] == found.mean()
    row = rows["transfer", "a", "c"]
    assert row["stderr"] == pytest.approx((0.25 / 120) ** 0.5)
    assert (row["n"], row["n_train"], row["majority"]) == (120, 120, 0.25)
    assert "note" not in row
    assert rows["transfer", "a", "a"]["note"] == "at home"


def test_settings_are_chosen_on_the_validation_part_of_the_source_alone() -> None:
    train, validation, test = three_parts({"a": torch.eye(4), "b": torch.eye(4)}, noise=0.8)
    other = {name: Labelled(part.features.flip(0), part.labels) for name, part in validation.items()}
    plain = transfer_matrix(train, validation, test)
    assert transfer_matrix(train, {**validation, "b": other["b"]}, test).settings["a"] == plain.settings["a"]
    scale = train["a"].features.double().square().mean().sqrt()
    scores = {}
    for strength in LogisticHead().strengths:
        probe = LogisticRegression(C=strength, max_iter=1000)
        probe.fit((train["a"].features / scale).numpy(), CLASSES.numpy())
        scores[strength] = probe.score((validation["a"].features / scale).numpy(), CLASSES.numpy()), probe
    best = max(scores, key=lambda strength: scores[strength][0])
    assert plain.settings["a"] == f"C = {best:g}"
    expected = scores[best][1].score((test["b"].features / scale).numpy(), CLASSES.numpy())
    assert plain.accuracy["a", "b"] == pytest.approx(expected)


def test_random_labels_transfer_at_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (400,), generator=generator)
    parts = three_parts({"a": torch.zeros(4, 3), "b": torch.zeros(4, 3)}, noise=1.0, labels=labels)
    assert all(abs(value - 0.25) < 0.08 for value in transfer_matrix(*parts).accuracy.values())


def test_a_budget_is_of_labels_by_class_and_nested() -> None:
    few, more = few_of_each(CLASSES, 5, seed=1), few_of_each(CLASSES, 9, seed=1)
    assert CLASSES[few].bincount().tolist() == [5] * 4
    assert set(few.tolist()) < set(more.tolist())
    assert few_of_each(CLASSES, 5, seed=2).tolist() != few.tolist()
    assert len(few_of_each(CLASSES, 99, seed=1)) == len(few_of_each(CLASSES, None, seed=1)) == 120
    parts = three_parts({"a": torch.eye(4)})
    assert transfer_matrix(*parts, labels_per_class=3).n_train == {"a": 12}


def sequences(rows: int, seed: int, place: int) -> Labelled:
    """One step of four says the class, at a place that differs from modality to modality; two are not there."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 3
    features = 0.05 * torch.randn(rows, 4, 3, generator=generator)
    features[:, place] += torch.eye(3)[labels]
    there = torch.zeros(rows, 4, dtype=torch.bool)
    there[:, [place, (place + 1) % 4]] = True
    features[~there] = 50 * torch.randn(int((~there).sum()), 3, generator=generator)
    return Labelled(features, labels, there)


def test_steps_are_read_wherever_they_are_and_only_those_that_are_there() -> None:
    parts = [{"a": sequences(60, seed, 0), "b": sequences(60, seed + 9, 2)} for seed in range(3)]
    for head in (StepHead(epochs=25, rates=(0.03,)), LogisticHead(pooled)):
        assert min(transfer_matrix(*parts, head).accuracy.values()) > 0.97
    apart = transfer_matrix(*parts, LogisticHead(flattened))
    assert apart.accuracy["a", "a"] == 1
    assert apart.accuracy["a", "b"] < 0.7  # the place of a step is part of what it reads
    part = parts[0]["a"]
    torch.testing.assert_close(pooled(part), part.features[:, :2].mean(1))
    assert flattened(part).shape == (60, 12)
    assert float(flattened(part)[:, 6:].abs().max()) == 0


def test_the_step_head_keeps_its_best_epoch_and_leaves_random_numbers_alone() -> None:
    train, validation = around(torch.eye(4), 0, 0.7), around(torch.eye(4), 1, 0.7)
    state = torch.get_rng_state()
    head = StepHead(epochs=12, rates=(1e-3, 0.05), batch_size=32)
    with torch.no_grad():
        fitted = head.fit(train, validation, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert float((fitted.predict(validation) == CLASSES).double().mean()) == fitted.validation
    again = head.fit(train, validation, seed=3)
    assert (again.setting, again.validation) == (fitted.setting, fitted.validation)
    assert fitted.validation >= StepHead(epochs=12, rates=(0.05,), batch_size=32).fit(train, validation, 3).validation


def test_latents_are_read_from_a_model(known: Any) -> None:
    labels = torch.arange(200) % 4
    exact = torch.eye(4)[labels]
    there = {"b": torch.arange(200) % 5 != 0}
    data = Batch({"a": exact, "b": exact[:, [1, 0, 2, 3]]}, there, labels)
    found = evaluate(known(IDENTITY, torch.eye(4)), data, METRICS, train=data, progress=False)
    assert found.value("transfer", "a", "a") == found.value("transfer", "b", "b") == 1
    assert found.value("transfer", "a", "b") == pytest.approx(0.5, abs=0.02)
    (row,) = found.select("transfer", "b", "a")
    assert row["n"] == 200
    assert row["n_train"] + 0.2 * 160 == pytest.approx(160, abs=12)
    assert found.select("transfer", "a", "b")[0]["n"] == 160
    assert len(found.select("transfer_mean")) == len(found.select("transfer_ratio")) == 1
    without = evaluate(known(IDENTITY, torch.eye(4)), data, METRICS, progress=False)
    assert "pass train=" in without.notes[0]
    one_class = evaluate(known(IDENTITY, torch.eye(4)), data, METRICS, train=data[labels == 1], progress=False)
    assert any("of one class" in note for note in one_class.notes)


def test_bad_arguments_are_named() -> None:
    train, validation, test = three_parts({"a": torch.eye(4)})
    with pytest.raises(ValueError, match="training data of"):
        transfer_matrix(train, {}, test)
    with pytest.raises(ValueError, match="labels_per_class: expected at least 1"):
        transfer_matrix(train, validation, test, labels_per_class=0)
    with pytest.raises(ValueError, match="need the same width"):
        transfer_matrix(train, validation, {"b": around(torch.eye(5)[:4], 0)})
    with pytest.raises(ValueError, match="a: a head needs training data of two classes"):
        transfer_matrix({"a": train["a"][(CLASSES == 1).nonzero().flatten()]}, validation, test)
    elsewhere = transfer_matrix(train, validation, {"b": test["a"]})
    assert elsewhere.accuracy == {("a", "b"): 1}
    assert math.isnan(elsewhere.ratio("a", "b"))
    assert [row["metric"] for row in elsewhere.rows()] == ["transfer", "transfer_mean"]
