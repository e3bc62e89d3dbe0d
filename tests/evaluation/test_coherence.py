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


ONE_TO_MANY = ["one_to_many_coherence"]


def stuck(z: torch.Tensor) -> torch.Tensor:
    return one_hot(torch.zeros(len(z)).long())


def test_one_to_many_is_the_share_on_which_all_that_was_missing_agrees(known) -> None:
    """Each target is right in half of the rows: in the same half (b and c), or in another one (b and d)."""
    late = torch.cat([torch.eye(4)[:2], torch.eye(4)[2:].roll(1, 1)])
    model = known(
        {"a": lambda z: z, "b": lambda z: z @ spoil(2), "c": lambda z: z @ spoil(2), "d": lambda z: z @ late},
        torch.eye(4),
    )
    data = Batch(dict.fromkeys(model.names, one_hot(CLASSES)), labels=CLASSES)
    found = evaluate(model, data, ONE_TO_MANY, classifiers=judges(*model.names), progress=False)

    def values(given: str) -> tuple[float, float]:
        return found.value("one_to_many_agreement", given), found.value("one_to_many_coherence", given)

    # Classes 0 1 2 3 become 1 2 2 3 (b and c) and 0 1 3 0 (d).
    assert values("a+d") == (1, 0.5)
    assert values("a+b") == (0, 0)
    assert values("a") == (0, 0)
    (row,) = found.select("one_to_many_coherence", "a+d")
    assert (row["n"], row["targets"], row["target"]) == (40, 2, "")
    given = [row["given"] for row in found.select("one_to_many_agreement")]
    assert len(given) == 4 + 6
    assert max(each.count("+") for each in given) == 1


def test_one_to_many_against_a_slow_loop(known) -> None:
    """Agreement and classes of noisy draws, counted one by one from what each judge says."""
    from mmvae.evaluation import make_row
    from mmvae.evaluation.generation import readings

    model = known(
        {name: lambda z, shift=shift: z.roll(shift, 1) for shift, name in enumerate("abc")}, torch.eye(4), 1.0
    )
    model.makes |= {"c": lambda z: z + torch.sin(9 * z)}
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(-1, 4, (200,), generator=generator)
    data = Batch({"a": one_hot(classes.clamp(min=0))}, labels=classes)

    def slow(context):
        said = {name: reading.predicted.tolist() for name, reading in readings(context, ("a",)).items()}
        agree = [b == c for b, c in zip(said["b"], said["c"], strict=True)]
        known_rows = [row for row in range(200) if int(classes[row]) >= 0]
        right = [agree[row] and said["b"][row] == int(classes[row]) for row in known_rows]
        yield make_row("slow_agreement", sum(agree) / 200)
        yield make_row("slow_coherence", sum(right) / len(right))

    found = evaluate(model, data, [*ONE_TO_MANY, slow], classifiers=judges("a", "b", "c"), progress=False)
    assert 0 < found.value("one_to_many_coherence", "a") < found.value("one_to_many_agreement", "a") < 1
    for what in ("agreement", "coherence"):
        assert found.value(f"one_to_many_{what}", "a") == pytest.approx(found.value(f"slow_{what}"))


def test_one_to_many_notes_what_it_needs(known) -> None:
    model = known({name: lambda z: z for name in "abc"}, torch.eye(4))
    unlabelled = evaluate(model, {"a": torch.eye(4)}, ONE_TO_MANY, classifiers=judges("a", "b", "c"), progress=False)
    assert {row["metric"] for row in unlabelled.rows} == {"one_to_many_agreement"}
    assert any("agreement alone" in note and "no class labels" in note for note in unlabelled.notes)
    data = Batch({"a": one_hot(CLASSES)}, labels=CLASSES)
    partly = evaluate(model, data, ONE_TO_MANY, classifiers=judges("a", "b"), progress=False)
    assert not partly.select("one_to_many_agreement")
    assert any("no subset lacks two modalities that have classifiers" in note for note in partly.notes)
    two = known({name: lambda z: z for name in "ab"}, torch.eye(4))
    found = evaluate(two, data, ONE_TO_MANY, classifiers=judges("a", "b"), progress=False)
    assert any("has fewer than three modalities" in note for note in found.notes)
    by_default = evaluate(two, data, classifiers=judges("a", "b"), progress=False)
    assert not any("one_to_many" in note for note in by_default.notes)
