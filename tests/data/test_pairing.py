import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvae.data import DigitWords, LabelledImages, pair_by_label, pair_images


def random_labels(seed: int, sizes: dict[str, int], num_classes: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randint(num_classes, (size,), generator=generator) for name, size in sizes.items()}


def expected_occurrences(labels: dict[str, torch.Tensor], repeats: int, limit: int) -> dict[str, dict[int, int]]:
    """How often each base row must occur, by plain loops over the protocol."""
    occurrences: dict[str, dict[int, int]] = {name: {} for name in labels}
    for label in range(10):
        members = {
            name: [row for row, value in enumerate(values.tolist()) if value == label]
            for name, values in labels.items()
        }
        n = min(limit, *(len(rows) for rows in members.values()))
        for name, rows in members.items():
            for row in rows[:n]:
                occurrences[name][row] = repeats
    return occurrences


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    sizes=st.tuples(st.integers(20, 40), st.integers(20, 40), st.integers(20, 40)),
    repeats=st.integers(1, 3),
    limit=st.integers(1, 12),
)
def test_pairs_share_their_class_and_use_what_the_protocol_uses(seed, sizes, repeats, limit):
    labels = random_labels(seed, dict(zip("abc", sizes, strict=True)))
    index, classes = pair_by_label(labels, repeats, seed, limit)
    for name, table in index.items():
        assert torch.equal(labels[name][table], classes)
        rows, counts = table.unique(return_counts=True)
        found = dict(zip(rows.tolist(), counts.tolist(), strict=True))
        assert found == expected_occurrences(labels, repeats, limit)[name]


def test_pairing_is_seeded_and_leaves_the_global_generator_alone():
    labels = random_labels(0, {"a": 200, "b": 150})
    before = torch.get_rng_state()
    first, again, other = (pair_by_label(labels, 2, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first["a"], again["a"])
    assert torch.equal(first["b"], again["b"])
    assert not torch.equal(first["a"], other["a"])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_of_the_modalities_does_not_matter():
    labels = random_labels(1, {"a": 200, "b": 150})
    first, _ = pair_by_label(labels, 3, 5)
    second, _ = pair_by_label(dict(reversed(labels.items())), 3, 5)
    assert all(torch.equal(first[name], second[name]) for name in labels)


def test_repeated_pairings_differ():
    labels = {"a": torch.zeros(50, dtype=torch.int64), "b": torch.zeros(50, dtype=torch.int64)}
    index, _ = pair_by_label(labels, 4, 0)
    assert len(set(zip(index["a"].tolist(), index["b"].tolist(), strict=True))) > 150  # of 200; 50 if they were one


def test_a_class_that_a_modality_lacks_gives_no_rows():
    _, classes = pair_by_label({"a": torch.tensor([0, 1, 2]), "b": torch.tensor([1, 2, 2])})
    assert sorted(classes.tolist()) == [1, 2]


def test_nothing_to_pair():
    with pytest.raises(ValueError, match="no class occurs in all of 'a', 'b'"):
        pair_by_label({"a": torch.tensor([0]), "b": torch.tensor([1])})
    with pytest.raises(ValueError, match="at least 1"):
        pair_by_label({"a": torch.tensor([0])}, repeats=0)
    with pytest.raises(ValueError, match="at least one modality"):
        pair_by_label({})


def marked(name: str, labels: torch.Tensor, groups: torch.Tensor | None = None) -> LabelledImages:
    """Images whose only pixel is their own number."""
    return LabelledImages(torch.arange(len(labels)).float().reshape(-1, 1, 1, 1), labels, name, groups)


def test_paired_images_and_words_share_the_label():
    labels = random_labels(3, {"a": 80, "b": 90}, num_classes=10)
    images = {name: marked(name.upper(), values) for name, values in labels.items()}
    dataset = pair_images(images, samplers={"text": DigitWords()}, repeats=3)
    batch = dataset.everything()
    for name in "ab":
        assert torch.equal(labels[name][batch.data[name].flatten().long()], batch.labels)
    assert dataset.name == "A-B-English digit words"
    assert dataset.sources_used == {"a": "A", "b": "B", "text": "English digit words"}
    assert dataset.shapes == {"a": (1, 1, 1), "b": (1, 1, 1), "text": (8,)}


def test_disjoint_shares_give_disjoint_pairs():
    labels = random_labels(4, {"a": 100, "b": 120})
    parts = [
        pair_images({name: marked(name, values).share(*cut) for name, values in labels.items()}, repeats=5)
        for cut in ((0.0, 0.8), (0.8, 1.0))
    ]
    for name in "ab":
        train, held_out = (set(part.everything().data[name].flatten().tolist()) for part in parts)
        assert not train & held_out


@pytest.mark.parametrize(("size", "distinct"), [(40, 40), (100, 50)])
def test_a_size_takes_as_few_pairings_as_it_needs(size, distinct):
    labels = torch.arange(5).repeat(10)
    dataset = pair_images({"a": marked("a", labels), "b": marked("b", labels)}, repeats=20, size=size)
    assert len(dataset) == size
    assert len(dataset.everything().data["a"].unique()) == distinct
