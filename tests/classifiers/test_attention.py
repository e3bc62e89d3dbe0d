"""Attention maps: those of a slow reference, of the right tokens, in the right cells."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmvae import Batch, models, nn, plot
from mmvae.classifiers.attention import CLASS_TOKEN, own_encoder, recorded_attention, strength, wrapped
from mmvae.plotting.figures.style import PALETTE
from mmvae.vaes.base import MultimodalVAE


def reference(encoder: Any, tokens: Tensor, valid: Tensor) -> Tensor:
    """The attention of the last block, ``[N, S, S]``, head by head; all may look at what is valid."""
    for block in encoder.transformer.blocks[:-1]:
        tokens = block(tokens, valid[:, None, None])
    block = encoder.transformer.blocks[-1]
    tokens = block.attention_norm(tokens)
    width = tokens.shape[-1] // block.heads
    total = torch.zeros(len(tokens), tokens.shape[1], tokens.shape[1])
    for head in range(block.heads):
        part = slice(head * width, (head + 1) * width)
        scores = block.query(tokens)[..., part] @ block.key(tokens)[..., part].transpose(1, 2) / width**0.5
        for row, there in enumerate(valid):
            weights = scores[row].exp() * there
            total[row] += weights / weights.sum(1, keepdim=True) / block.heads
    return total


def sharpened(classifier: models.CMPT) -> models.CMPT:
    """A copy whose attention is not even."""
    model = copy.deepcopy(classifier)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (1.0 if "query" in name or "key" in name else 0.3))
    return model


@torch.no_grad()
def test_maps_are_those_of_the_reference(classifier: models.CMPT, pair: Batch) -> None:
    model = sharpened(classifier)
    arrays = plot.AttentionMaps.of(model, pair, rows=12)
    codes = pair.data["codes"]  # its classes take turns, as those of the plot do
    encoder = own_encoder(model.encoder("codes"))
    assert encoder is not None
    tokens = torch.cat([encoder.embedding(codes), model.proxy_tokens["codes"].expand(12, -1, -1)], 1)
    valid = torch.cat([torch.ones(12, 1), codes != 0, torch.ones(12, 1)], 1).bool()
    expected = reference(encoder, tokens, valid)
    np.testing.assert_allclose(arrays.weights["codes"][CLASS_TOKEN], expected[:, 0, 1:5], atol=1e-6)
    np.testing.assert_allclose(arrays.weights["codes"]["proxy for picture"], expected[:, 5, 1:5], atol=1e-6)
    assert not np.allclose(expected[:, 0, 1:5], expected[:, 5, 1:5], atol=1e-2)
    assert arrays.weights["codes"][CLASS_TOKEN][codes.numpy() == 0].max() == 0
    for weights in arrays.weights["picture"].values():
        assert np.isnan(weights).any(1).nonzero()[0].tolist() == [2]  # the datum without a picture
    assert arrays.grids == {"picture": (2, 2)}
    assert arrays.unavailable == {}


@torch.no_grad()
def test_each_row_sums_to_one_and_hooks_go_away(classifier: models.CMPT, pair: Batch) -> None:
    encoder = own_encoder(classifier.encoder("picture"))
    assert encoder is not None
    with recorded_attention(encoder) as recorded:
        for _ in range(2):
            encoder(pair.data["picture"], extra=torch.randn(3, 8))
    assert [each.shape for each in recorded] == [(12, 8, 8)] * 2
    np.testing.assert_allclose(recorded[0].sum(-1), 1, atol=1e-6)
    encoder(pair.data["picture"])
    assert len(recorded) == 2


def test_several_proxies_are_averaged_and_isolation_is_seen(pair: Batch) -> None:
    encoders = {
        "picture": nn.ViT((1, 8, 8), patch=4, dim=8, depth=1),
        "codes": nn.TextTransformer(5, 4, dim=8, depth=1),
    }
    model = sharpened(type("Isolated", (models.CMPT,), {"isolate_proxy": True})(encoders, 3, num_proxies=2))
    weights = plot.AttentionMaps.of(model, pair[:1]).weights["codes"]
    assert list(weights) == [CLASS_TOKEN, "proxy for picture"]
    codes, encoder = pair.data["codes"][:1], own_encoder(model.encoder("codes"))
    assert encoder is not None
    with torch.no_grad(), recorded_attention(encoder) as recorded:
        encoder(codes)
        proxies = model.proxy_tokens["codes"].expand(1, -1, -1)
        together = torch.cat([encoder.embedding(codes), proxies], 1)
        expected = reference(encoder, together, torch.ones(1, 7, dtype=torch.bool))
    np.testing.assert_allclose(weights[CLASS_TOKEN], recorded[0][:, 0, 1:5], atol=1e-6)  # as if no proxy were there
    np.testing.assert_allclose(weights["proxy for picture"], expected[:, 5:7, 1:5].mean(1), atol=1e-6)


class Other(torch.nn.Module):
    """An encoder of somebody else's."""

    def forward(self, codes: Tensor) -> Tensor:
        return torch.zeros(len(codes), 3, 8)


def test_encoders_of_other_kinds_are_said_to_be_unavailable(classifier: models.CMPT, pair: Batch) -> None:
    other = nn.wrap_encoder(Other(), shape=(4,), dtype=torch.int64)
    model = models.CMPT({"picture": nn.ViT((1, 8, 8), patch=4, dim=8, depth=1), "codes": other}, 3, rank=0)
    arrays = plot.AttentionMaps.of(model, pair)
    assert list(arrays.weights) == ["picture"]
    assert "none of the library's own encoders" in arrays.unavailable["codes"]
    texts = [text.get_text() for text in plot.attention_maps(arrays).axes[0].texts]
    assert any(text.startswith("not available: Other is none") for text in texts)
    alone = models.LateFusion({"codes": other}, 3)
    with pytest.raises(TypeError, match="attention is available for the library's own encoders"):
        plot.AttentionMaps.of(alone, pair.restrict("codes"))


def test_proxies_behind_an_encoder_are_said_to_be_unavailable(classifier: models.CMPT, pair: Batch) -> None:
    closed = copy.deepcopy(classifier.arguments["encoders"])
    closed["codes"].takes_extra = False
    arrays = plot.AttentionMaps.of(models.CMPT(closed, 3), pair)
    assert list(arrays.weights["codes"]) == [CLASS_TOKEN]
    assert arrays.unavailable == {"codes": "its proxies live behind the encoder"}


def test_models_without_encoders_of_tokens(model: MultimodalVAE, batch: Batch) -> None:
    with pytest.raises(TypeError, match="MVAE has no token encoders"):
        plot.AttentionMaps.of(model, batch)


def test_strength_is_against_an_even_share() -> None:
    np.testing.assert_allclose(strength(np.full(8, 0.1)), 0.25)
    np.testing.assert_allclose(strength(np.array([0.2, 0.2, 0.0, 0.0])), [0.25, 0.25, 0, 0])  # two that can be seen
    np.testing.assert_allclose(strength(np.array([0.9] + [0.1 / 9] * 9)), [1] + [0.025 / 0.9] * 9)
    np.testing.assert_array_equal(strength(np.zeros(3)), 0)


def test_words_wrap() -> None:
    assert wrapped(["a", "bc", "def", "g"], 6) == [[0, 1], [2, 3]]  # "a bc", "def g"
    assert wrapped(list("abcdef"), 4) == [[0, 1, 2, 3], [4, 5]]  # letters stand close
    assert wrapped(["toolong", "x"], 4) == [[0], [1]]


def test_cells_hold_pictures_words_and_their_weights() -> None:
    weights = np.array([[0.5, 0.25, 0.125, 0.125]])
    arrays = plot.AttentionMaps(
        ("image", "text"),
        {"image": np.zeros((1, 1, 4, 4), np.float32), "text": np.array([[2, 0, 1, 1]])},
        {"image": np.array([True]), "text": np.array([True])},
        {"image": {CLASS_TOKEN: weights}, "text": {CLASS_TOKEN: weights}},
        {"image": (2, 2)},
        {},
    )
    (ax,) = plot.attention_maps(arrays, {"text": lambda code: " pq"[int(code[0])]}).axes
    glow = ax.images[-1].get_array()
    np.testing.assert_allclose(glow[..., 3], 0.85 * np.array([[0.5, 0.25], [0.125, 0.125]]))
    words = [text.get_text() for text in ax.texts if text.get_family() == ["monospace"]]
    assert words == ["q", "\N{MIDDLE DOT}", "p", "p"]
    opacities = [patch.get_alpha() for patch in ax.patches if patch.get_facecolor()[:3] == to_rgb(PALETTE[1])]
    np.testing.assert_allclose(opacities, 0.85 * weights[0])


def to_rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
