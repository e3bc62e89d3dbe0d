"""Made-up clips: what is hidden in them is known, and is where it is said to be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmvae.data import PairedSequences, paired_sequences


def _one_hot(clips: PairedSequences, events: int = 12) -> Tensor:
    return nn.functional.one_hot(clips.events.flatten(), events).float()


def _affine(features: Tensor) -> Tensor:
    return torch.cat([features.flatten(0, 1), torch.ones(features.shape[:2].numel(), 1)], 1)


def test_shapes_masks_and_labels() -> None:
    clips = paired_sequences(7, steps=5, classes=3, events=6, widths={"audio": 4, "video": 5, "text": 6})
    assert {name: tuple(value.shape) for name, value in clips.batch.data.items()} == {
        "audio": (7, 5, 4),
        "video": (7, 5, 5),
        "text": (7, 5, 6),
    }
    assert list(clips.batch.steps) == ["text"]
    assert clips.batch.steps["text"].sum(1).tolist() == [3] * 7
    assert not clips.batch.data["text"][:, 3:].any()
    assert clips.labels.bincount().tolist() == [3, 2, 2]
    assert (len(clips), set(clips.styles), set(clips.walks)) == (7, {"audio", "video", "text"}, {"audio", "video"})


def test_each_clip_goes_through_the_events_of_its_class_and_switches_at_random_times() -> None:
    clips = paired_sequences(300, steps=8)
    switches = clips.events.diff(dim=1) != 0
    assert (switches.sum(1) == 2).all()
    firsts = torch.cat([torch.ones(300, 1, dtype=torch.bool), switches], 1)
    visited = clips.events[firsts].reshape(300, 3)
    assert torch.equal(visited.sort(1).values, clips.class_events[clips.labels])
    assert len(visited.unique(dim=0)) > 30  # the orders of ten classes
    torch.testing.assert_close(switches.float().mean(0), torch.full((7,), 2 / 7), atol=0.1, rtol=0)
    assert len(clips.class_events.unique(dim=0)) == 10
    assert len(clips.class_events.unique()) == 12


@pytest.mark.parametrize("name", ["audio", "video"])
def test_without_noise_events_are_linear_in_the_features_of_another_split(name: str) -> None:
    train = paired_sequences(100, noise=0)
    test = paired_sequences(50, noise=0, split="test")
    weights = torch.linalg.lstsq(_affine(train.batch.data[name]), _one_hot(train)).solution
    torch.testing.assert_close(_affine(test.batch.data[name]) @ weights, _one_hot(test), atol=1e-3, rtol=0)


def test_without_noise_and_private_parts_features_are_the_vectors_of_the_events_in_every_split() -> None:
    known: dict[tuple[str, int], Tensor] = {}
    for split in ("train", "validation", "test"):
        clips = paired_sequences(20, noise=0, private=0, split=split)
        for name in ("audio", "video"):
            for event, vector in zip(
                clips.events.flatten().tolist(), clips.batch.data[name].flatten(0, 1), strict=True
            ):
                assert torch.equal(known.setdefault((name, event), vector), vector)
    assert len(known) == 24


def test_a_description_names_the_events_of_the_class_in_an_order_of_its_own() -> None:
    clips = paired_sequences(60, noise=0, private=0)
    words = clips.batch.data["text"][:, :3]
    vocabulary, word = words.flatten(0, 1).unique(dim=0, return_inverse=True)
    assert len(vocabulary) == 12
    named = word.reshape(60, 3)
    event_of_word: dict[int, set[int]] = {}
    for words_of_clip, label in zip(named.tolist(), clips.labels, strict=True):
        for each in words_of_clip:
            possible = set(clips.class_events[label].tolist())
            event_of_word[each] = event_of_word.get(each, possible) & possible
    assert all(event_of_word.values())  # one event fits all classes in which a word occurs
    of_class = named[clips.labels == 0]
    assert len(of_class.unique(dim=0)) > 1
    assert len(of_class.sort(1).values.unique(dim=0)) == 1


def test_what_is_private_makes_up_the_rest_and_knows_nothing_of_the_class_or_another_modality() -> None:
    clips, bare = paired_sequences(2000, noise=0), paired_sequences(2000, noise=0, private=0)
    own = clips.batch.data["audio"] - bare.batch.data["audio"]
    hidden = torch.cat([clips.styles["audio"].unsqueeze(1).expand_as(clips.walks["audio"]), clips.walks["audio"]], -1)
    weights = torch.linalg.lstsq(hidden.flatten(0, 1), own.flatten(0, 1)).solution
    torch.testing.assert_close(hidden @ weights, own, atol=1e-3, rtol=1e-3)
    for values in (clips.styles["audio"], clips.walks["audio"][:, -1], clips.styles["text"]):
        torch.testing.assert_close(values.var(0), torch.ones(4), atol=0.15, rtol=0)
        means = torch.stack([values[clips.labels == label].mean(0) for label in range(10)])
        assert means.abs().max() < 5 / 200**0.5
    crossed = clips.walks["audio"].flatten(1).T @ clips.walks["video"].flatten(1) / 2000
    assert crossed.abs().max() < 6 / 2000**0.5
    steps = clips.walks["audio"]
    assert 0.7 < (steps[:, 1:] * steps[:, :-1]).mean() < 0.9


def test_no_single_step_tells_the_class() -> None:
    clips = paired_sequences(1)
    owners = clips.class_events.flatten().bincount(minlength=12)
    assert owners.min() >= 2


def test_noise_has_the_size_that_is_asked_for() -> None:
    noisy, clean = paired_sequences(200, noise=0.7), paired_sequences(200, noise=0)
    torch.testing.assert_close(
        (noisy.batch.data["video"] - clean.batch.data["video"]).std(), torch.tensor(0.7), atol=0.01, rtol=0
    )


def test_the_same_seed_gives_the_same_clips_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again = paired_sequences(5), paired_sequences(5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.events, again.events)
    assert all(torch.equal(first.batch.data[name], again.batch.data[name]) for name in first.batch.names)
    others = (paired_sequences(5, split="test"), paired_sequences(5, seed=1))
    assert not any(torch.equal(first.batch.data["audio"], other.batch.data["audio"]) for other in others)


def test_a_modality_does_not_depend_on_which_others_there_are() -> None:
    alone = paired_sequences(5, widths={"video": 48}, described=())
    assert torch.equal(alone.batch.data["video"], paired_sequences(5).batch.data["video"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, "size: expected at least 1"),
        ({"classes": 0}, "classes: expected at least 1"),
        ({"widths": {"audio": 0, "text": 1}}, "audio: width"),
        ({"widths": {}, "described": ()}, "at least one modality"),
        ({"widths": {"audio": 3}}, "described: 'text' not among 'audio'"),
        ({"steps": 2}, "events_per_class: expected 1 to 2"),
        ({"events": 2}, "events_per_class: expected 1 to 2"),
        ({"events": 4}, "only 4 sets of 3 of 4 events"),
        ({"noise": -1.0}, "noise: expected a finite"),
        ({"private": float("inf")}, "private: expected a finite"),
        ({"split": "dev"}, "split: expected one of 'train'"),
    ],
)
def test_impossible_clips(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_sequences(**{"size": 3, **wrong})


def test_as_many_classes_as_there_are_sets() -> None:
    clips = paired_sequences(8, steps=2, classes=6, events=4, events_per_class=2)
    assert len(clips.class_events.unique(dim=0)) == 6
