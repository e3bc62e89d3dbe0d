from __future__ import annotations

import math
from itertools import pairwise, permutations

import pytest
import torch
from torch import Tensor

from mmvae import Batch
from mmvae.evaluation import (
    evaluate,
    expected_average_precision,
    expected_recall,
    retrieve,
    retrieve_in_episodes,
)
from mmvae.evaluation import (
    retrieval as module,
)

METRICS = ["retrieval"]
IDENTITY = {"a": lambda z: z, "b": lambda z: z}


def by_brute_force(similarity: Tensor, positive: Tensor, k: int) -> tuple[float, float]:
    """Recall at k and average precision of one query, averaged over all orders that put no less similar item first."""
    recalls, precisions = [], []
    for order in permutations(range(len(similarity))):
        if all(similarity[i] >= similarity[j] for i, j in pairwise(order)):
            hits = [bool(positive[item]) for item in order]
            recalls.append(float(any(hits[:k])))
            down_to = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
            precisions.append(sum(down_to) / len(down_to))
    return sum(recalls) / len(recalls), sum(precisions) / len(precisions)


def test_ties_count_by_the_mean_over_all_their_orders() -> None:
    generator = torch.Generator().manual_seed(0)
    similarity = torch.randint(3, (25, 6), generator=generator).float()
    positive = torch.rand(25, 6, generator=generator) < 0.4
    positive[:, 0] |= ~positive.any(1)
    for k in (1, 2, 4, 6, 9):
        expected = [by_brute_force(*query, k) for query in zip(similarity, positive, strict=True)]
        recall, precision = torch.tensor(expected, dtype=torch.float64).unbind(1)
        torch.testing.assert_close(expected_recall(similarity, positive, k), recall)
        torch.testing.assert_close(expected_average_precision(similarity, positive), precision)


def test_all_alike_gives_the_chance_of_a_random_order() -> None:
    positive = torch.arange(1000)[None] % 10 == 0
    tied = torch.ones(1, 1000)
    for k, chance in ((1, 0.1), (5, 0.41), (10, 0.65)):
        exact = 1 - math.comb(900, k) / math.comb(1000, k)
        assert float(expected_recall(tied, positive, k)) == pytest.approx(exact, abs=1e-10)
        assert exact == pytest.approx(chance, abs=0.01)
    assert float(expected_recall(tied, positive, 901)) == 1
    harmonic = sum(1 / place for place in range(1, 1001))
    expected = (99 / 999) + (1 - 99 / 999) * harmonic / 1000  # E[1 / place] and the share of the others that is above
    assert float(expected_average_precision(tied, positive)) == pytest.approx(expected)


def test_queries_that_can_find_nothing_and_bad_places() -> None:
    similarity, nothing = torch.rand(2, 4), torch.zeros(2, 4, dtype=torch.bool)
    assert expected_recall(similarity, nothing, 2).isnan().all()
    assert expected_average_precision(similarity, nothing).isnan().all()
    with pytest.raises(ValueError, match="k: expected at least 1"):
        expected_recall(similarity, nothing, 0)


def test_retrieval_is_that_of_a_loop_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(40, 3, generator=generator), torch.randn(30, 3, generator=generator)
    asked, offered = torch.arange(40) % 5, torch.arange(30) % 4
    found = retrieve(queries, asked, gallery, offered, ks=(1, 3))
    monkeypatch.setattr(module, "_MOST_SIMILARITIES", 100)
    for name, values in retrieve(queries, asked, gallery, offered, ks=(1, 3)).items():
        torch.testing.assert_close(values, found[name], equal_nan=True)
    for query in range(40):
        cosines = torch.cosine_similarity(queries[query][None], gallery)
        hits = (offered == asked[query])[cosines.argsort(descending=True)]
        if asked[query] == 4:
            assert all(math.isnan(values[query]) for values in found.values())
            continue
        assert found["r1"][query] == float(hits[0])
        assert found["r3"][query] == float(hits[:3].any())
        places = hits.nonzero().flatten() + 1
        expected = (torch.arange(1, len(places) + 1) / places).mean()
        assert float(found["map"][query]) == pytest.approx(float(expected))


def test_rounding_does_not_break_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(8, 5, generator=generator) * 1e-3
    steps = torch.tensor(list(permutations(range(6)))[:200])
    pooled = codes[steps].mean(1)  # the same six codes in another order each: equal but for rounding
    found = retrieve(pooled[:3], torch.zeros(3).long(), pooled, torch.arange(200) % 4)
    torch.testing.assert_close(found["r1"], torch.full((3,), 0.25, dtype=torch.float64))


def test_episodes_have_one_item_of_each_class(known) -> None:
    perfect, labels = torch.eye(4).repeat(5, 1), torch.arange(20) % 4
    found = retrieve_in_episodes(perfect, labels, perfect, labels, episodes=50)
    assert {name: float(values.mean()) for name, values in found.items()} == {"episode_r1": 1, "episode_r3": 1}
    alike = retrieve_in_episodes(torch.ones(20, 3), labels, torch.ones(9, 3), torch.arange(9) % 3, episodes=50)
    assert alike.keys() == {"episode_r1"}  # with three classes, three places hold everything
    torch.testing.assert_close(alike["episode_r1"], torch.full((50,), 1 / 3, dtype=torch.float64))
    noise = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0))
    first, again, other = (
        retrieve_in_episodes(noise[0], labels, noise[1], labels, seed=seed)["episode_r1"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert retrieve_in_episodes(perfect, labels, perfect, labels + 9) == {}


def test_rows_by_ordered_pair_with_chance(known) -> None:
    labels = torch.arange(40) % 4
    exact = torch.eye(4)[labels]
    # What b says of classes 0 and 1 is the same: half of the gallery is tied above the others.
    merged = torch.eye(4)[labels.clamp(min=1)]
    model = known(IDENTITY, torch.eye(4))
    data = Batch({"a": exact, "b": merged}, {"b": torch.arange(40) >= 4}, labels)
    found = evaluate(model, data, METRICS, progress=False)
    metrics = {f"retrieval_{name}" for name in ("r1", "r5", "r10", "map", "episode_r1", "episode_r3")}
    assert {row["metric"] for row in found.rows} == metrics
    # From b, queries of class 0 find those of class 1.
    assert found.value("retrieval_r1", "b", "a") == pytest.approx(0.75)
    # From a, class 0 asks for a direction that b never takes: all 36 are tied, 9 of them hits.
    assert found.value("retrieval_r1", "a", "b") == pytest.approx((0.25 + 0.5 + 1 + 1) / 4)
    (row,) = found.select("retrieval_r5", "a", "b")
    assert row["n"] == 40
    assert row["chance"] == pytest.approx(1 - math.comb(27, 5) / math.comb(36, 5))
    (row,) = found.select("retrieval_episode_r3", "b", "a")
    assert (row["n"], row["chance"]) == (1000, 0.75)
    unlabelled = evaluate(model, data.data, METRICS, progress=False)
    assert "no class labels" in unlabelled.notes[0]


def test_modalities_without_a_common_class_are_noted(known) -> None:
    there = {"a": torch.arange(4) < 2, "b": torch.arange(4) >= 2}
    data = Batch(dict.fromkeys("ab", torch.eye(4)), there, torch.arange(4))
    found = evaluate(known(IDENTITY, torch.eye(4)), data, METRICS, progress=False)
    assert not found.rows
    assert any("no class in common" in note for note in found.notes)
