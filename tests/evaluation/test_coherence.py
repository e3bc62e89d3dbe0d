from __future__ import annotations

import pytest
import torch
from torch import nn

from mmvae import Batch
from mmvae.evaluation import evaluate

CLASSES = torch.arange(40) % 4
METRICS = ["coherence", "joint_coherence"]


def judges(*names: str) -> dict[str, nn.Module]:
    """Data are one-hot classes already."""
    return {name: nn.Identity() for name in names}


def one_hot(classes: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes, 4).float()


def spoil(first: int) -> torch.Tensor:
    """A map of one-hot classes that is wrong for those below ``first``."""
    return torch.cat([torch.eye(4)[:first].roll(1, 1), torch.eye(4)[first:]])


def test_share_is_that_of_the_classes_that_survive(known) -> None:
    model = known(
        {
            "right": lambda z: z,
            "partial": lambda z: z @ spoil(2),
            "stuck": lambda z: one_hot(torch.zeros(len(z)).long()),
        },
        torch.eye(4),
    )
    data = Batch(dict.fromkeys(model.names, one_hot(CLASSES)), labels=CLASSES)
    found = evaluate(model, data, METRICS, classifiers=judges(*model.names), max_data=40, progress=False)
    for given in ("right", "stuck", "partial+stuck"):
        assert found.value("coherence", given, "right") == 1
        assert found.value("coherence", given, "partial") == 0.5
        assert found.value("coherence", given, "stuck") == 0.25
    (row,) = found.select("coherence", "right", "partial")
    assert row["stderr"] == pytest.approx((0.25 / 40) ** 0.5)
    assert "note" not in row
    assert found.select("coherence", "partial+right", "partial")[0]["note"] == "reconstruction"
    # Drawn classes 0 1 2 3: the first modality says 0 1 2 3, the second 1 2 2 3, the third 0 0 0 0.
    assert found.value("joint_coherence") == 0
    assert found.value("classifier_accuracy", target="stuck") == 1


def test_joint_coherence_is_the_share_on_which_all_agree(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z @ spoil(1)}, torch.eye(4))
    found = evaluate(
        model, {"a": torch.eye(4)}, ["joint_coherence"], classifiers=judges("a", "b"), max_data=1200, progress=False
    )
    (row,) = found.select("joint_coherence")
    assert (row["value"], row["n"], row["given"], row["target"]) == (0.75, 1200, "", "")


def test_latents_are_drawn_and_not_averaged(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(4), noise=100.0)
    classes = torch.arange(2000) % 4
    data = Batch({"a": one_hot(classes)}, labels=classes)
    found = evaluate(model, data, ["coherence"], classifiers=judges("a", "b"), progress=False)
    assert found.value("coherence", "a", "b") == pytest.approx(0.25, abs=0.04)


def test_only_rows_with_the_subset_count(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(4))
    there = CLASSES < 1
    data = Batch({"a": one_hot(CLASSES), "b": one_hot(CLASSES * there)}, {"b": there}, CLASSES)
    found = evaluate(model, data, ["coherence"], classifiers=judges("a", "b"), progress=False)
    (row,) = found.select("coherence", "b", "a")
    assert (row["value"], row["n"]) == (1, 10)


def test_what_is_missing_is_noted(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(4))
    unlabelled = evaluate(model, {"a": torch.eye(4)}, METRICS, classifiers=judges("a", "b"), progress=False)
    assert {row["metric"] for row in unlabelled.rows} == {"joint_coherence"}
    assert any(note.startswith("coherence: left out") and "no class labels" in note for note in unlabelled.notes)
    data = Batch({"a": one_hot(CLASSES)}, labels=CLASSES)
    unjudged = evaluate(model, data, METRICS, progress=False)
    assert not unjudged.rows
    assert any("no classifiers" in note for note in unjudged.notes)
    partly = evaluate(model, data, METRICS, classifiers=judges("a"), progress=False)
    assert {row["target"] for row in partly.rows} == {"a"}
    assert any("without b" in note for note in partly.notes)


def test_judges_that_can_are_asked_once(known) -> None:
    class Judge(nn.Module):
        calls = 0

        def features(self, data: torch.Tensor) -> torch.Tensor:
            Judge.calls += 1
            return data

        def read(self, data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.features(data), data

        def forward(self, data: torch.Tensor) -> torch.Tensor:
            return self.read(data)[0]

    model = known({"a": lambda z: z, "b": lambda z: z @ spoil(1)}, torch.eye(4))
    data = Batch(dict.fromkeys(model.names, one_hot(CLASSES)), labels=CLASSES)
    found = evaluate(model, data, METRICS, classifiers={"a": Judge(), "b": Judge()}, max_data=40, progress=False)
    assert found.value("coherence", "a", "b") == 0.75
    assert Judge.calls == 2 * (3 + 1 + 1)  # three subsets, the prior, the real data
