from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from mmvae.batch import Batch
from mmvae.data import MultimodalDataset, Noisy, add_noise, feature_statistics, mask_features, mask_tokens

PADDING, START, END, MASK = 0, 1, 2, 3


def texts(size: int, length: int = 12) -> torch.Tensor:
    """A start, words from 10 on, an end, padding."""
    tokens = torch.full((size, length), PADDING)
    for row in range(size):
        words = row % (length - 1)
        tokens[row, 0] = START
        tokens[row, 1 : 1 + words] = torch.arange(10, 10 + words)
        tokens[row, 1 + words] = END
    return tokens


def test_noise_is_normal_with_the_level_times_the_scale():
    values = torch.full((400, 3, 50), 7.0)
    scale = torch.tensor([0.5, 1.0, 4.0])[:, None]
    noise = add_noise(values, 0.2, scale, seed=1) - values
    spread = noise.movedim(1, 0).flatten(1).std(1)
    torch.testing.assert_close(spread, 0.2 * scale.flatten(), rtol=4.5 / math.sqrt(2 * 20_000), atol=0)
    assert float(noise[:, 1].mean().abs()) < 4.5 * 0.2 / math.sqrt(20_000)
    first, second = noise[:, 1, :25].flatten(), noise[:, 1, 25:].flatten()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 4.5 / math.sqrt(10_000)


def test_no_noise_changes_nothing():
    values, tokens = torch.randn(4, 3, 8, 8), texts(5)
    assert torch.equal(add_noise(values, 0.0), values)
    assert torch.equal(mask_tokens(tokens, 0.0, MASK), tokens)


def test_a_level_scales_the_same_noise():
    values = torch.randn(6, 5)
    quiet, loud = (add_noise(values, sigma, seed=3) - values for sigma in (0.1, 0.5))
    torch.testing.assert_close(loud, 5 * quiet, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "noise",
    [
        partial(add_noise, sigma=0.5),
        partial(mask_features, share=0.5, mean=torch.full((4,), 9.0)),
        lambda values, **known: mask_tokens((values[..., 0] * 0).long() + 10, 0.5, MASK, **known),
    ],
    ids=["add_noise", "mask_features", "mask_tokens"],
)
def test_the_noise_of_a_row_depends_on_its_number_and_the_seed_alone(noise):
    values = torch.randn(7, 6, 4)
    before = torch.get_rng_state()
    whole = noise(values, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    rows = torch.tensor([5, 0, 3])
    assert torch.equal(noise(values[rows], seed=2, rows=rows), whole[rows])
    assert not torch.equal(noise(values, seed=3), whole)
    assert not torch.equal(
        noise(values[:1].expand(2, -1, -1), seed=2)[0], noise(values[:1].expand(2, -1, -1), seed=2)[1]
    )


def test_a_share_of_the_tokens_is_replaced_and_none_that_is_special():
    tokens = texts(3_000)
    masked = mask_tokens(tokens, 0.3, MASK, (PADDING, START, END), seed=1)
    words = tokens >= 10
    changed = masked != tokens
    assert bool((masked[changed] == MASK).all())
    assert not bool((changed & ~words).any())
    count = int(words.sum())
    assert abs(float(changed.sum()) / count - 0.3) < 4.5 * math.sqrt(0.3 * 0.7 / count)
    short, long = (float(changed[words.sum(1) == n].sum()) / (n * (words.sum(1) == n).sum()) for n in (1, 10))
    assert abs(short - 0.3) < 0.13  # 273 texts of a word: each token for itself, however short its text is
    assert abs(long - 0.3) < 0.04
    everything = mask_tokens(tokens, 1.0, MASK, (PADDING, START, END))
    assert bool((everything[words] == MASK).all())


def test_what_is_replaced_at_a_share_is_replaced_at_every_higher_one():
    tokens = texts(50)
    fewer, more = (mask_tokens(tokens, share, MASK, (PADDING, START, END), seed=4) for share in (0.2, 0.5))
    assert bool((more[fewer == MASK] == MASK).all())
    assert int((more == MASK).sum()) > int((fewer == MASK).sum())


def test_feature_tokens_become_the_mean_token_but_for_the_class_token():
    features = torch.randn(400, 9, 2, 3)
    mean = torch.full((2, 3), 5.0)
    masked = mask_features(features, 0.25, mean, skip=1, seed=1)
    changed = (masked != features).flatten(2).any(2)
    assert not bool(changed[:, 0].any())
    assert bool((masked[changed] == mean).all())
    assert abs(float(changed[:, 1:].double().mean()) - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / 3200)


def test_statistics_of_features_count_valid_tokens_alone():
    features = torch.randn(5, 4, 3)
    valid = torch.rand(5, 4) < 0.7
    counted = torch.stack([features[n, t] for n in range(5) for t in range(4) if valid[n, t]])
    mean, spread = feature_statistics(features, valid)
    torch.testing.assert_close(mean, counted.sum(0) / len(counted))
    torch.testing.assert_close(spread, ((counted - mean).square().sum(0) / (len(counted) - 1)).sqrt())
    torch.testing.assert_close(feature_statistics(features)[0], features.mean((0, 1)))


def noisy(data, seed=0):
    noise = {
        "image": partial(add_noise, sigma=0.5),
        "text": partial(mask_tokens, share=0.5, mask=MASK, special=(PADDING, START, END)),
    }
    return Noisy(data, noise, seed)


def test_noisy_data_is_the_same_at_every_visit_and_in_every_batch():
    data = {"image": torch.randn(12, 1, 4, 4), "text": texts(12), "sound": torch.randn(12, 3)}
    source = noisy(data)
    assert len(source) == 12
    whole = source.batch(torch.arange(12))
    rows = torch.tensor([7, 2])
    for name in data:
        assert torch.equal(source.batch(rows).data[name], whole.data[name][rows])
        assert torch.equal(noisy(data).batch(rows).data[name], whole.data[name][rows])
    assert torch.equal(whole.data["sound"], data["sound"])
    assert not torch.equal(whole.data["image"], data["image"])
    assert not torch.equal(noisy(data, seed=1).batch(rows).data["image"], whole.data["image"][rows])


def test_modalities_of_one_shape_get_noise_of_their_own():
    data = {"a": torch.zeros(4, 6), "b": torch.zeros(4, 6)}
    noise = partial(add_noise, sigma=1.0)
    both = Noisy(data, {"a": noise, "b": noise}).batch(torch.arange(4))
    assert not torch.equal(both.data["a"], both.data["b"])
    alone = Noisy({"a": data["a"]}, {"a": noise}).batch(torch.arange(4))
    assert torch.equal(alone.data["a"], both.data["a"])


def test_what_is_missing_stays_missing_and_labels_stay():
    observed = {"image": torch.tensor([True, False, True]), "text": torch.tensor([True, True, False])}
    labels = torch.tensor([4, 5, 6])
    batch = noisy(Batch({"image": torch.randn(3, 2), "text": texts(3)}, observed, labels)).batch(torch.tensor([1, 2]))
    assert batch.observed["image"].tolist() == [False, True]
    assert batch.observed["text"].tolist() == [True, False]
    assert not bool(batch.data["image"][0].any())
    assert not bool(batch.data["text"][1].any())
    assert batch.labels is not None
    assert batch.labels.tolist() == [5, 6]
    whole_missing = Batch({"image": torch.randn(3, 2)}, {"text": torch.zeros(3, dtype=torch.bool)})
    assert noisy(whole_missing).batch(torch.arange(3)).absent == ("text",)


def test_padding_of_steps_stays_zero():
    steps = torch.tensor([[True, True, False], [True, False, False]])
    source = Noisy(Batch({"image": torch.randn(2, 3, 4)}, {"image": steps}), {"image": partial(add_noise, sigma=1.0)})
    batch = source.batch(torch.arange(2))
    assert torch.equal(batch.steps["image"], steps)
    assert torch.equal(batch.data["image"].any(-1), steps)


def test_noise_goes_on_a_dataset():
    dataset = MultimodalDataset({"image": torch.rand(5, 1, 2, 2)}, labels=torch.arange(5))
    clean = dataset.everything().data["image"]
    batch = Noisy(dataset, {"image": partial(add_noise, sigma=0.1)}).batch(torch.tensor([3]))
    assert torch.equal(batch.data["image"], add_noise(clean, 0.1, seed=_seed_of("image"))[3:4])


def _seed_of(name: str) -> int:
    from mmvae.seeds import derive_seed

    return derive_seed(0, "noise", name)


def test_what_cannot_be():
    values, tokens = torch.zeros(2, 3), texts(2)
    with pytest.raises(ValueError, match=r"a standard deviation from 0, got -1"):
        add_noise(values, -1.0)
    for share in (-0.1, 30):
        with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
            mask_tokens(tokens, share, MASK)
    with pytest.raises(ValueError, match=r"on 'text', but the data holds 'image'"):
        noisy({"image": values}).batch(torch.arange(2))
    with pytest.raises(ValueError, match=r"at least two valid tokens, got 1"):
        feature_statistics(torch.zeros(1, 1, 4))
