from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmvae import Batch, Latents
from mmvae.distributions import point_mass
from mmvae.evaluation import code_agreement, code_divergence, code_information, code_purity, evaluate
from mmvae.subsets import canonical

METRICS = ["codebook"]


class Codes(nn.Module):
    """Data are codes, ``[N]`` or ``[N, T]``, -1 where no step is there; latents are their vectors, the one-hot ones."""

    def __init__(self, *names: str, num_codes: int = 4) -> None:
        super().__init__()
        self.names, self.codebook = names, torch.eye(num_codes)

    def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> Latents:
        batch = batch.restrict(None if subset is None else canonical(subset, self.names))
        codes = batch.data[batch.names[0]]
        vectors = torch.cat([self.codebook, torch.zeros(1, len(self.codebook))])[codes]
        return Latents(point_mass(vectors), batch.names, codes=codes)


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values)


def entropy(*shares: float) -> float:
    return -sum(share * math.log(share) for share in shares if share)


def test_information_and_purity_by_hand() -> None:
    codes, classes = tensor(7, 7, 7, 3), tensor(0, 0, 1, 1)
    # Of code 7 two of three are of class 0; code 3 is of class 1.
    assert code_purity(codes, classes) == 3 / 4
    joint = entropy(0.5, 0.25, 0.25)
    mutual = entropy(0.75, 0.25) + math.log(2) - joint
    assert code_information(codes, classes) == pytest.approx(mutual / ((entropy(0.75, 0.25) + math.log(2)) / 2))
    assert code_purity(classes + 5, classes) == 1
    assert code_information(classes + 5, classes) == pytest.approx(1)
    assert code_information(tensor(0, 1, 0, 1), classes) == pytest.approx(0)


def test_agreement_by_hand() -> None:
    assert code_agreement([tensor(0, 1, 2), tensor(0, 2, 2)]).tolist() == [1, 0, 1]
    a, b = tensor([0, 1, -1], [2, 2, 2]), tensor([0, 3, 1], [2, -1, -1])
    assert code_agreement([a, b]).tolist() == [0.5, 1]  # of the steps that are there in both
    assert code_agreement([a, b, tensor([1, 1, 1], [2, 2, 2])]).tolist() == [0, 1]
    assert code_agreement([tensor([0, -1]), tensor([-1, 0])]).isnan().all()


def test_divergence_by_hand() -> None:
    codes = {"a": tensor(0, 0, 1, 2), "b": tensor(1, 1, 1, 3)}
    classes = {"a": tensor(0, 0, 0, 1), "b": tensor(0, 0, 0, 2)}
    # Class 0: (2/3, 1/3) and (0, 1), of mean (1/3, 2/3). Classes 1 and 2 are in one modality only.
    expected = entropy(1 / 3, 2 / 3) - entropy(2 / 3, 1 / 3) / 2
    assert code_divergence(codes, classes, 4) == pytest.approx(expected)
    apart = {"a": tensor(0, 1), "b": tensor(2, 3), "c": tensor(4, 5)}
    assert code_divergence(apart, dict.fromkeys("abc", tensor(0, 0)), 6) == pytest.approx(math.log(3))
    assert code_divergence(dict.fromkeys("ab", tensor(0, 1)), dict.fromkeys("ab", tensor(0, 1)), 2) == 0
    assert math.isnan(code_divergence(codes, {"a": tensor(1, 1, 1, 1), "b": tensor(0, 0, 0, 0)}, 4))


def test_rows_of_a_codebook_by_hand() -> None:
    labels = tensor(0, 0, 1, 1)
    data = Batch({"a": tensor(0, 0, 1, 1), "b": tensor(0, 0, 1, 2), "c": tensor(0, 0, 0, 0)}, labels=labels)
    found = evaluate(Codes("a", "b", "c", num_codes=5), data, METRICS, progress=False)
    assert not found.notes
    assert [found.value("codebook_usage", target=name) for name in ("a", "b", "c", "")] == [0.4, 0.6, 0.2, 0.6]
    assert found.value("codebook_perplexity", target="a") == pytest.approx(2)
    assert found.value("codebook_perplexity", target="") == pytest.approx(math.exp(entropy(8 / 12, 3 / 12, 1 / 12)))
    # Code 0 is of all three, code 1 of a and b, code 2 of b alone.
    assert [found.value(f"codebook_owned_by_{owners}") for owners in (1, 2, 3)] == pytest.approx([1 / 3] * 3)
    assert found.value("codebook_agreement", "a", "b") == found.value("codebook_agreement", "b", "a") == 0.75
    assert found.value("codebook_agreement", "a", "c") == 0.5
    assert found.value("codebook_agreement", "a+b+c", "") == 0.5
    assert found.value("codebook_purity", target="c") == 0.5
    assert found.value("codebook_nmi", target="a") == pytest.approx(1)
    assert found.value("codebook_purity", target="") == pytest.approx((6 + 3 + 1) / 12)
    (row,) = found.select("codebook_divergence")
    third, sixth = 1 / 3, 1 / 6  # class 1: (0, 1, 0), (0, 1/2, 1/2), (1, 0, 0), of mean (1/3, 1/2, 1/6)
    assert row["value"] == pytest.approx((entropy(third, 0.5, sixth) - math.log(2) / 3) / 2)
    assert found.select("codebook_usage", target="a")[0]["num_codes"] == 5


def test_codes_with_few_data_each_are_said_to_inform_by_chance() -> None:
    labels = torch.arange(40) % 2
    for codes, noted in ((torch.arange(40) % 10, False), (torch.arange(40) % 11, True)):
        data = Batch({"a": codes, "b": codes}, labels=labels)
        found = evaluate(Codes("a", "b", num_codes=20), data, METRICS, progress=False)
        for metric in ("codebook_nmi", "codebook_purity"):
            assert ("note" in found.select(metric, target="a")[0]) == noted


def test_steps_that_are_not_there_and_rows_that_are_missing_do_not_count() -> None:
    a = tensor([0, 1, -1], [2, -1, -1], [3, 3, 3])
    b = tensor([0, 0, 0], [2, 2, 2], [1, 1, 1])
    data = Batch({"a": a, "b": b}, {"b": tensor(True, True, False)}, tensor(0, 1, 1))
    found = evaluate(Codes("a", "b"), data, METRICS, progress=False)
    assert found.select("codebook_usage", target="a")[0]["n"] == 6
    assert found.value("codebook_usage", target="b") == 0.5
    (row,) = found.select("codebook_agreement", "a", "b")
    assert (row["value"], row["n"]) == (0.75, 2)
    assert found.value("codebook_purity", target="a") == 1


def test_sequences_are_evaluated_by_default_in_all_that_applies() -> None:
    torch.manual_seed(0)
    labels = torch.arange(80) % 4
    codes = labels[:, None].repeat(1, 3)
    codes[:, 1] = torch.randint(4, (80,))
    short = torch.where(torch.arange(3) < 1 + torch.arange(80)[:, None] % 3, codes, -1)
    data = Batch({"a": codes, "b": short}, labels=labels)
    model = Codes("a", "b")
    found = evaluate(model, data, train=data, max_data=80, progress=False)
    assert {"linear_probe", "cosine", "active_units", "canonical_correlation"} < {row["metric"] for row in found.rows}
    assert found.value("linear_probe_all", "a") == found.value("linear_probe_all", "b") == 1
    assert found.value("active_units", "a") == 12
    asked = evaluate(model, data, ["retrieval", "transfer"], train=data, progress=False)
    assert found.value("codebook_agreement", "a", "b") == 1
    assert asked.value("transfer", "a", "a") == 1
    assert asked.value("retrieval_r1", "a", "b") > 0.6


def test_data_made_of_codes_are_judged_though_there_is_no_prior() -> None:
    class Makes(Codes):
        def generate(self, latents: Latents, num_samples: int | None = None) -> dict[str, Tensor]:
            return dict.fromkeys(self.names, latents.codes)

    class Reads(nn.Module):
        def forward(self, data: Tensor) -> Tensor:
            return torch.eye(4)[data]

    labels = tensor(0, 1, 2, 3)
    data = Batch({"a": labels, "b": labels.flip(0)}, labels=labels)
    metrics = ["coherence", "joint_coherence", "frechet"]
    found = evaluate(Makes("a", "b"), data, metrics, classifiers=dict.fromkeys("ab", Reads()), progress=False)
    assert found.value("coherence", "a", "b") == 1
    assert found.value("coherence", "b", "a") == 0
    assert any(note.startswith("joint_coherence") and "no prior" in note for note in found.notes)
    unjudged = evaluate(Makes("a", "b"), data, metrics, train=data, progress=False)
    for metric in ("coherence", "classifier_feature_fd"):
        assert f"{metric}: left out, since there are no classifiers; pass classifiers=." in unjudged.notes


def test_what_is_not_known_is_noted(known: Any) -> None:
    class Unsized(Codes):
        def __init__(self, *names: str) -> None:
            super().__init__(*names)
            del self.codebook

        def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> Latents:
            return Codes(*self.names).infer(batch, subset)

    plain = {"a": tensor(0, 2), "b": tensor([0, 1], [1, 1])}
    found = evaluate(Unsized("a", "b"), plain, METRICS, progress=False)
    assert found.value("codebook_usage", target="a") == pytest.approx(2 / 3)
    for words in ("shows no codebook", "different numbers of steps", "without classes"):
        assert any(words in note for note in found.notes)
    assert not found.select("codebook_nmi")
    other = evaluate(known({"a": lambda z: z}, torch.eye(2)), {"a": torch.eye(2)}, METRICS, progress=False)
    assert other.notes == ["codebook: left out, since Known has no codebook (its latents have no codes)."]
    alone = evaluate(Codes("a"), Batch({"a": tensor(0, 1)}, labels=tensor(0, 1)), METRICS, progress=False)
    assert {row["metric"] for row in alone.rows} == {
        "codebook_usage", "codebook_perplexity", "codebook_nmi", "codebook_purity",
    }  # fmt: skip
