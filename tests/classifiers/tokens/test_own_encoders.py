"""The library's own transformers against loops, and what pretraining needs of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmvae.classifiers.tokens.blocks import Block, attention_mask
from mmvae.nn import TextTransformer, ViT


def slow_block(block: Block, tokens: Tensor, sees: Tensor) -> Tensor:
    """One block for one datum ``[S, d]``, head by head and query by query; ``sees [S, S]``."""
    normed = block.attention_norm(tokens)
    query, key, value = block.query(normed), block.key(normed), block.value(normed)
    width = tokens.shape[1] // block.heads
    attended = torch.zeros_like(tokens)
    for head in range(block.heads):
        part = slice(head * width, (head + 1) * width)
        for place in range(len(tokens)):
            keys = sees[place].nonzero().flatten().tolist()
            scores = torch.stack([query[place, part] @ key[k, part] / math.sqrt(width) for k in keys])
            for weight, k in zip(scores.softmax(0), keys, strict=True):
                attended[place, part] += weight * value[k, part]
    tokens = tokens + block.output(attended)
    first, _, _, second = block.mlp
    return tokens + second(functional.gelu(first(block.mlp_norm(tokens))))


@pytest.mark.parametrize("isolate", [False, True])
def test_the_whole_encoder_is_the_loop(isolate: bool) -> None:
    encoder = TextTransformer(9, 4, dim=6, depth=2, heads=2, padding=0)
    ids, extra = torch.tensor([[3, 0, 5, 2], [1, 8, 0, 0]]), torch.randn(2, 6)
    output = encoder(ids, None, extra, isolate)
    for row in range(2):
        tokens = torch.cat([encoder.embedding(ids)[row], extra])
        sees = torch.ones(7, 7, dtype=torch.bool)
        for place in range(4):
            sees[:, 1 + place] = ids[row, place] != 0
        if isolate:
            sees[:5, 5:] = False
        for block, hidden in zip(encoder.transformer.blocks, output.hidden, strict=True):
            tokens = slow_block(block, tokens, sees)
            torch.testing.assert_close(hidden[row], tokens[:5], atol=1e-5, rtol=1e-5)
        final = encoder.transformer.norm(tokens)
        torch.testing.assert_close(output.cls[row], final[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.tokens[row], final[1:5], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.extra[row], final[5:], atol=1e-5, rtol=1e-5)
    assert torch.equal(output.mask, ids != 0)


def test_who_looks_at_whom() -> None:
    valid = torch.tensor([[True, False]])
    assert attention_mask(valid, 1).tolist() == [[[[True, False, True]]]]
    isolated = attention_mask(valid, 1, isolate=True)
    assert isolated.tolist() == [[[[True, False, False], [True, False, False], [True, False, True]]]]


def test_embedded_ids_are_symbol_and_position() -> None:
    encoder = TextTransformer(5, 3, dim=4, heads=2)
    embedded = encoder.embedding(torch.tensor([[4, 0, 1]]))[0]
    parts = encoder.embedding
    torch.testing.assert_close(embedded[0], parts.class_token + parts.positions[0])
    torch.testing.assert_close(embedded[1], parts.symbols[4] + parts.positions[1])
    torch.testing.assert_close(embedded[3], parts.symbols[1] + parts.positions[3])


def test_patches_are_those_of_the_image_row_by_row() -> None:
    images = torch.rand(2, 3, 4, 6)
    patches = ViT((3, 4, 6), patch=2, dim=8, heads=2).patches(images)
    assert patches.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            corner = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[:, 3 * row + column], corner.flatten(1))


def test_the_blocks_run_on_what_is_embedded_already() -> None:
    """All of it gives what the encoder gives; some of it, what the encoder gives with the rest masked."""
    encoder = ViT((1, 4, 4), patch=2, dim=8, depth=2, heads=2)
    images = torch.rand(3, 1, 4, 4)
    whole, hidden = encoder.run(encoder.embedding(images))
    assert torch.equal(whole, encoder(images).final)
    assert torch.equal(hidden[0], encoder(images).hidden[0])
    kept = torch.tensor([0, 1, 3])
    some, _ = encoder.run(encoder.embedding(images)[:, kept])
    shown = torch.tensor([True, False, True, False]).expand(3, -1)
    torch.testing.assert_close(some, encoder(images, shown).final[:, kept])
    masked, _ = encoder.run(encoder.embedding(images), functional.pad(shown, (1, 0), value=True))
    torch.testing.assert_close(masked[:, kept], some)


def test_a_row_of_padding_has_a_finite_class_token() -> None:
    encoder = TextTransformer(5, 3, dim=8, heads=2, padding=0)
    output = encoder(torch.zeros(2, 3, dtype=torch.int64), None, torch.randn(1, 8), isolate=True)
    assert output.cls.isfinite().all()
    assert output.extra.isfinite().all()


@pytest.mark.parametrize(
    ("encoder", "data"),
    [
        (ViT((1, 28, 28)), torch.rand(2, 1, 28, 28)),
        (TextTransformer(71, 8, padding=0), torch.randint(0, 71, (2, 8))),
    ],
    ids=["ViT", "TextTransformer"],
)
def test_every_weight_learns_and_the_arguments_build_it_again(encoder: Any, data: Tensor) -> None:
    encoder(data).final.square().mean().backward()
    for name, parameter in encoder.named_parameters():
        if not name.endswith("key.bias"):  # softmax does not see what all keys share
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
    again = type(encoder)(**encoder.arguments)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(data).cls, encoder(data).cls)


def test_dropout_is_of_training_only() -> None:
    encoder = ViT((1, 4, 4), patch=2, dim=8, heads=2, dropout=0.5)
    images = torch.rand(3, 1, 4, 4)
    assert not torch.equal(encoder(images).cls, encoder(images).cls)
    encoder.eval()
    assert torch.equal(encoder(images).cls, encoder(images).cls)


def test_order_of_the_tokens_matters() -> None:
    encoder = TextTransformer(5, 3, dim=8, heads=2)
    here, there = encoder(torch.tensor([[1, 2, 3]])), encoder(torch.tensor([[3, 2, 1]]))
    assert not torch.allclose(here.cls, there.cls, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 28, 30), (28, 28), (1, 4, 28), (1, 0, 28)])
def test_images_that_do_not_fall_into_patches(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"multiples of the patch, got shape .* and patch=7; choose a patch"):
        ViT(shape)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"dim a multiple of heads, got dim=10, depth=4, heads=4"):
        ViT((1, 28, 28), dim=10)
    with pytest.raises(ValueError, match=r"padding=None or one of its ids, got vocabulary=5, length=3, padding=5"):
        TextTransformer(5, 3, padding=5)


def test_ids_outside_the_vocabulary() -> None:
    encoder = TextTransformer(5, 3, dim=8, heads=2)
    with pytest.raises(ValueError, match=r"TextTransformer: expected ids from 0 to 4, got -1 to 5; build"):
        encoder(torch.tensor([[0, -1, 5]]))
