"""Diversity is the closed form of planted posteriors, and the distances of real data those of a slow loop."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from mmvae import Batch, Modality, likelihoods, models
from mmvae.evaluation import evaluate
from mmvae.evaluation.diversity import mean_distances

CLASSES = torch.arange(2000) % 4
METRICS = ["diversity"]


class Plain(nn.Module):
    """Data are one-hot classes already, and features of themselves."""

    def features(self, data: torch.Tensor) -> torch.Tensor:
        return data

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return data


def judges(*names: str) -> dict[str, nn.Module]:
    return {name: Plain() for name in names}


def one_hot(classes: torch.Tensor = CLASSES) -> torch.Tensor:
    return nn.functional.one_hot(classes, 4).float()


def make_data(*names: str) -> Batch:
    return Batch(dict.fromkeys(names, one_hot()), labels=CLASSES)


def test_two_draws_are_apart_as_their_posterior_says(known) -> None:
    """Two draws of N(m, s² I) in four dimensions are 2 s Γ(5/2) / Γ(2) apart; a scaled decoder scales that."""
    model = known({"a": lambda z: z, "b": lambda z: z, "c": lambda z: 3 * z}, torch.eye(4), noise=0.2)
    found = evaluate(model, make_data("a", "b", "c"), METRICS, classifiers=judges("a", "b", "c"), progress=False)
    expected = 2 * 0.2 * math.gamma(2.5)
    for given, target, times in (("a", "b", 1), ("b", "c", 3), ("a+b", "c", 3), ("c", "a", 1)):
        (row,) = found.select("diversity", given, target)
        assert row["n"] == 1000
        assert row["distance"] == pytest.approx(times * expected, abs=4 * row["stderr"] * row["real"])
        assert row["value"] == pytest.approx(row["distance"] / row["real"])
        # Three of four real pairs are of other classes, sqrt(2) apart; within a class all are the same.
        assert row["real"] == pytest.approx(0.75 * math.sqrt(2), rel=0.01)
        assert (row["within_class"], row["n_real"]) == (0, 1000)
    assert {(row["given"], row["target"]) for row in found.rows if row["metric"] == "diversity"} == {
        *itertools.permutations("abc", 2),
        ("a+b", "c"),
        ("a+c", "b"),
        ("b+c", "a"),
    }


def test_point_masses_have_no_diversity(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(4))
    found = evaluate(model, make_data("a", "b"), METRICS, classifiers=judges("a", "b"), progress=False)
    assert found.value("diversity", "a", "b") == 0


def test_distances_of_real_data_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 3, generator=generator)
    classes = torch.randint(-1, 3, (30,), generator=generator)
    pairs = list(itertools.combinations(range(30), 2))
    apart = [float((features[i].double() - features[j].double()).square().sum() ** 0.5) for i, j in pairs]
    within = [
        each
        for each, (i, j) in zip(apart, pairs, strict=True)
        if int(classes[i]) == int(classes[j]) and classes[i] >= 0
    ]
    found = mean_distances(features, classes)
    assert found == pytest.approx((sum(apart) / len(apart), sum(within) / len(within)))
    everything, nothing = mean_distances(features, None)
    assert everything == pytest.approx(found[0])
    assert math.isnan(nothing)


def test_batches_change_nothing_and_private_latents_are_drawn_anew() -> None:
    torch.manual_seed(0)
    modalities = [Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")]
    vae = models.MMVAEPlus(modalities, latent_dim=2, private_dim=3)
    data = make_data("a", "b")[:300]
    one, other = (
        evaluate(vae, data, METRICS, classifiers=judges("a", "b"), batch_size=size, progress=False) for size in (7, 300)
    )
    for given, target in (("a", "b"), ("b", "a")):
        assert one.value("diversity", given, target) > 0
        assert one.value("diversity", given, target) == pytest.approx(other.value("diversity", given, target), rel=1e-4)


def test_what_it_needs_is_noted(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(4), noise=0.1)
    data = make_data("a", "b")
    without = evaluate(model, data, METRICS, progress=False)
    assert any("no classifiers" in note for note in without.notes)
    featureless = evaluate(model, data, METRICS, classifiers={"a": Plain(), "b": nn.Identity()}, progress=False)
    assert {row["target"] for row in featureless.select("diversity")} == {"a"}
    assert any("left out for b, whose classifier has no features(x)" in note for note in featureless.notes)
    partly = evaluate(model, data, METRICS, classifiers=judges("a"), progress=False)
    assert any("left out for b, for which there is no classifier" in note for note in partly.notes)
    same = Batch({"a": torch.ones(50, 4), "b": one_hot()[:50]})
    constant = evaluate(model, same, METRICS, classifiers=judges("a", "b"), progress=False)
    assert any("left out for a, of which there are no two real data that differ" in note for note in constant.notes)
    assert "within_class" not in constant.select("diversity", "a", "b")[0]
