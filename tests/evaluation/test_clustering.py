"""Clusters of planted latents are the classes, and scores are those of slow loops over pairs and pairings."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from mmvae import Batch, Modality, likelihoods, models, priors
from mmvae.evaluation import evaluate
from mmvae.evaluation.clustering import matched_accuracy

METRICS = ["clustering"]
CLASSES = torch.arange(120) % 4


def corners(classes: torch.Tensor, spread: float = 0.05, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(len(classes), 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(classes, 4).float() + spread * noise


def test_separate_classes_are_found_and_noise_is_at_chance(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(4))
    noise = torch.randn(120, 4, generator=torch.Generator().manual_seed(1))
    found = evaluate(model, Batch({"a": corners(CLASSES), "b": noise}, labels=CLASSES), METRICS, progress=False)
    for score in ("nmi", "ari", "accuracy"):
        assert found.value(f"clustering_{score}", "a") == pytest.approx(1)
    assert found.value("clustering_nmi", "b") < 0.15
    assert abs(found.value("clustering_ari", "b")) < 0.1
    assert found.value("clustering_accuracy", "b") < 0.45
    (row,) = found.select("clustering_accuracy", "a")
    assert (row["n"], row["clusters"]) == (120, 4)
    assert not found.select("component_nmi")


def test_two_classes_in_one_cluster_give_the_scores_of_the_loops(known) -> None:
    """Four classes in two places, so that k-means has two clusters to fill; the rest are known in closed form."""
    places = corners(CLASSES // 2 * 2, spread=0.0)
    model = known({"a": lambda z: z}, torch.eye(4))
    found = evaluate(model, Batch({"a": places}, labels=CLASSES), METRICS, progress=False)
    clusters, classes = (CLASSES // 2).tolist(), CLASSES.tolist()
    pairs = list(itertools.combinations(range(120), 2))
    same_cluster = [clusters[i] == clusters[j] for i, j in pairs]
    same_class = [classes[i] == classes[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(same_cluster, same_class, strict=True))
    expected = sum(same_cluster) * sum(same_class) / len(pairs)
    assert found.value("clustering_ari") == pytest.approx(
        (both - expected) / ((sum(same_cluster) + sum(same_class)) / 2 - expected)
    )
    assert found.value("clustering_nmi") == pytest.approx(math.log(2) / ((math.log(2) + math.log(4)) / 2))
    assert found.value("clustering_accuracy") == pytest.approx(0.5)
    assert found.select("clustering_ari")[0]["clusters"] == 2


@pytest.mark.parametrize(("num_clusters", "num_classes"), [(3, 3), (2, 4), (5, 3)])
def test_accuracy_is_that_of_the_best_pairing(num_clusters: int, num_classes: int) -> None:
    generator = torch.Generator().manual_seed(num_clusters)
    clusters = torch.randint(num_clusters, (60,), generator=generator)
    classes = torch.randint(num_classes, (60,), generator=generator)
    most = max(num_clusters, num_classes)
    best = max(
        sum(pairing[cluster] == each for cluster, each in zip(clusters.tolist(), classes.tolist(), strict=True))
        for pairing in itertools.permutations(range(most))
    )
    assert matched_accuracy(clusters, classes) == pytest.approx(best / 60)


def test_components_of_a_prior_are_clusters(exact_model) -> None:
    """Five components, of which four stand where the data of a class is, and one stands far off."""
    model = exact_model()
    places = torch.tensor([[4.0, 4.0], [4.0, -4.0], [-4.0, 4.0], [-4.0, -4.0], [40.0, 40.0]])
    mixture = priors.GaussianMixture(5).for_latent(2)
    with torch.no_grad():
        mixture.loc.copy_(places)
    model.prior = mixture
    z = places[CLASSES]
    data = {name: z * torch.tensor(slope) for name, slope in (("a", (1.0, 0.7)), ("b", (-0.6, 1.3)))}
    found = evaluate(model, Batch(data, labels=CLASSES), METRICS, progress=False)
    for given in ("a", "b", "a+b"):
        for score in ("nmi", "ari", "accuracy"):
            assert found.value(f"component_{score}", given) == pytest.approx(1)
        (row,) = found.select("component_accuracy", given)
        assert (row["n"], row["clusters"]) == (120, 5)
    merged = evaluate(model, Batch(data, labels=CLASSES // 2), METRICS, progress=False)
    assert merged.value("component_nmi", "a") == pytest.approx(math.log(2) / ((math.log(2) + math.log(4)) / 2))
    assert merged.value("component_accuracy", "a") == pytest.approx(0.5)  # one component for each class counts


def test_private_columns_do_not_count() -> None:
    torch.manual_seed(0)
    modalities = [Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")]
    model = models.MMVAEPlus(modalities, latent_dim=2, private_dim=3)
    data = Batch({name: torch.randn(120, 4) for name in ("a", "b")}, labels=CLASSES)
    found = evaluate(model, data, METRICS, progress=False)
    shared = model.infer(data, "a").shared.mean.detach().double().numpy()
    by_hand = KMeans(4, n_init=10, random_state=0).fit(shared).labels_
    assert found.value("clustering_ari", "a") == pytest.approx(adjusted_rand_score(CLASSES.numpy(), by_hand))


def test_components_that_were_pruned_do_not_count() -> None:
    torch.manual_seed(0)
    modalities = [Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")]
    model = models.CMVAE(modalities, latent_dim=2, private_dim=3, num_clusters=6)
    data = Batch({name: torch.randn(120, 4) for name in ("a", "b")}, labels=CLASSES)
    kept = model.prune(data)
    found = evaluate(model, data, METRICS, progress=False)
    assert len(kept) < 6
    assert found.select("component_ari", "a+b")[0]["clusters"] == len(kept)


def test_rows_without_a_class_or_the_subset_are_left_out(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(4))
    labels = torch.where(torch.arange(120) < 20, -1, CLASSES)
    there = torch.arange(120) < 100
    data = Batch({"a": corners(CLASSES), "b": corners(CLASSES)}, {"b": there}, labels)
    found = evaluate(model, data, METRICS, progress=False)
    assert {row["n"] for row in found.select("clustering_nmi", "a")} == {100}
    assert {row["n"] for row in found.select("clustering_nmi", "b")} == {80}


def test_what_it_needs_is_noted(known) -> None:
    model = known({"a": lambda z: z}, torch.eye(4))
    unlabelled = evaluate(model, {"a": corners(CLASSES)}, METRICS, progress=False)
    assert any("clustering: left out" in note and "no class labels" in note for note in unlabelled.notes)
    one = evaluate(model, Batch({"a": corners(CLASSES)}, labels=torch.zeros(120)), METRICS, progress=False)
    assert not one.rows
    assert any("are not of two known classes" in note for note in one.notes)
