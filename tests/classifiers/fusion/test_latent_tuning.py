"""Latent tuning against loops; what is missing or padding reaches nothing; layers, their mean, and fusion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mmvae.nn import (
    ConcatFusion,
    LatentTuning,
    LatentTuningBlock,
    LayerMean,
    TransformerFusion,
    TunedLatents,
    paired_layers,
)

Pair = tuple[Tensor, Tensor]
WIDTHS = (10, 6)


def everyone(rows: int = 4) -> Pair:
    return torch.ones(rows, dtype=torch.bool), torch.ones(rows, dtype=torch.bool)


def tokens_of(dim: int = 8, rows: int = 4) -> Pair:
    return torch.randn(rows, 5, dim), torch.randn(rows, 3, dim)


def all_valid(rows: int = 4) -> Pair:
    return torch.ones(rows, 5, dtype=torch.bool), torch.ones(rows, 3, dtype=torch.bool)


def states_of(layers: int, rows: int = 4) -> tuple[list[Tensor], list[Tensor]]:
    return [torch.randn(rows, 5, WIDTHS[0]) for _ in range(layers)], [
        torch.randn(rows, 3, WIDTHS[1]) for _ in range(layers)
    ]


def some_valid() -> Pair:
    return torch.arange(5) < torch.tensor([5, 3, 1, 4])[:, None], torch.arange(3) < torch.tensor([2, 3, 3, 1])[:, None]


def assert_same(found: TunedLatents, expected: TunedLatents, *, rows: object = slice(None)) -> None:
    for one, other in zip((*found.before, *found.after), (*expected.before, *expected.after), strict=True):
        torch.testing.assert_close(one[:, rows], other[:, rows], atol=1e-5, rtol=0)  # type: ignore[index]


def test_layers_of_one_depth_are_paired_one_by_one() -> None:
    assert paired_layers([4, 4]) == [(0, 1, 2, 3), (0, 1, 2, 3)]
    assert paired_layers([4, 4], max_layers=9) == [(0, 1, 2, 3), (0, 1, 2, 3)]


def test_layers_of_different_depths_are_spread_evenly_and_end_with_the_last() -> None:
    assert paired_layers([12, 4]) == [(2, 5, 8, 11), (0, 1, 2, 3)]
    assert paired_layers([12, 12], max_layers=1) == [(11,), (11,)]
    assert paired_layers([12, 1]) == [(11,), (0,)]
    for deep in range(1, 30):
        for shallow in range(1, deep + 1):
            chosen, all_of_them = paired_layers([deep, shallow])
            assert list(chosen) == sorted(set(chosen))
            assert chosen[-1] == deep - 1
            assert all_of_them == tuple(range(shallow))
    with pytest.raises(ValueError, match="max_layers: expected at least 1, or None for all, got 0"):
        paired_layers([3, 3], max_layers=0)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_block_is_attention_in_the_common_space_a_residual_and_a_norm(heads: int) -> None:
    """Written as loops over rows, tokens and heads, with padding left out instead of masked."""
    block = LatentTuningBlock(8, heads=heads)
    tokens, valid = tokens_of(), some_valid()
    found = block(tokens, valid, everyone())
    sides = (block.first, block.second)
    for me, other in ((0, 1), (1, 0)):
        for row in range(4):
            mine = tokens[me][row][valid[me][row]]
            theirs = tokens[other][row][valid[other][row]]
            queries = mine @ sides[me].query.weight.T
            keys, values = theirs @ sides[other].key.weight.T, theirs @ sides[other].value.weight.T
            width = 8 // heads
            read = torch.zeros_like(mine)
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                for position in range(len(mine)):
                    scores = torch.stack([queries[position, part] @ key[part] / math.sqrt(width) for key in keys])
                    read[position, part] = scores.softmax(0) @ values[:, part]
            latent = torch.stack([sides[me].norm(each) for each in read + mine]).mean(0)
            torch.testing.assert_close(found.after[me][0, row], latent)
            torch.testing.assert_close(found.before[me][0, row], mine.mean(0))


def test_without_cross_attention_each_side_is_normalised_alone() -> None:
    block = LatentTuningBlock(8, cross_attention=False)
    tokens = tokens_of()
    found = block(tokens, all_valid(), everyone())
    torch.testing.assert_close(found.after[0][0], block.first.norm(tokens[0]).mean(1))
    assert sum(parameter.numel() for parameter in block.parameters()) == 4 * 8 + 2 * 8
    again = block((tokens[0], torch.randn(4, 3, 8)), all_valid(), everyone())
    assert torch.equal(again.after[0], found.after[0])


def test_the_first_token_may_stand_for_all() -> None:
    block = LatentTuningBlock(8, pool="cls")
    tokens = tokens_of()
    found = block(tokens, all_valid(), everyone())
    assert torch.equal(found.before[0][0], tokens[0][:, 0])
    alone = block((tokens[0][:, :1], tokens[1]), (all_valid()[0][:, :1], all_valid()[1]), everyone())
    torch.testing.assert_close(found.after[0], alone.after[0])


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_padding_reaches_nothing(pool: str) -> None:
    block = LatentTuningBlock(8, pool=pool)  # type: ignore[arg-type]
    tokens, valid = tokens_of(), some_valid()
    changed = (
        torch.where(valid[0][..., None], tokens[0], 99.0),
        torch.where(valid[1][..., None], tokens[1], -7.0),
    )
    assert_same(block(changed, valid, everyone()), block(tokens, valid, everyone()))


@pytest.mark.parametrize("pool", ["mean", "cls"])
@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_side_reaches_nothing_and_is_translated_from_the_other(pool: str, missing: int) -> None:
    block = LatentTuningBlock(8, pool=pool)  # type: ignore[arg-type]
    tokens, valid, shown = list(tokens_of()), some_valid(), list(everyone())
    shown[missing] = torch.tensor([True, False, False, True])
    before = block(tuple(tokens), valid, tuple(shown))
    gone = ~shown[missing]

    changed = list(tokens)
    changed[missing] = torch.where(gone[:, None, None], 99.0, tokens[missing])
    assert_same(block(tuple(changed), valid, tuple(shown)), before)
    masked = list(valid)
    masked[missing] = torch.where(gone[:, None], False, valid[missing])
    assert_same(block(tuple(tokens), tuple(masked), tuple(shown)), before)

    present = 1 - missing
    changed = list(tokens)
    changed[present] = tokens[present] + torch.randn_like(tokens[present])
    after = block(tuple(changed), valid, tuple(shown))
    moved = (after.after[missing] - before.after[missing])[0].norm(dim=-1)
    assert (moved > 1e-3).all()
    assert torch.equal(after.before[missing][0, gone], before.before[missing][0, gone])


def test_gradients_of_missing_content_and_padding_are_zero() -> None:
    block = LatentTuningBlock(8)
    tokens, valid = tuple(each.requires_grad_() for each in tokens_of()), some_valid()
    shown = (torch.tensor([True, True, False, True]), torch.ones(4, dtype=torch.bool))
    found = block(tokens, valid, shown)
    sum(each.square().sum() for each in (*found.before, *found.after)).backward()
    assert tokens[0].grad is not None
    reached = tokens[0].grad.abs().sum(-1) > 0
    assert torch.equal(reached, valid[0] & shown[0][:, None])


def test_tuning_is_a_projection_and_a_block_for_each_layer() -> None:
    tuning = LatentTuning(WIDTHS, layers=3, dim=8)
    states, valid = states_of(3), some_valid()
    shown = (torch.tensor([True, True, False, True]), torch.tensor([True, False, True, True]))
    found = tuning(states, valid, shown)
    for layer in range(3):
        first, second = tuning.projections[layer]  # type: ignore[misc]
        expected = tuning.blocks[layer]((first(states[0][layer]), second(states[1][layer])), valid, shown)
        one = TunedLatents(
            (found.before[0][layer, None], found.before[1][layer, None]),
            (found.after[0][layer, None], found.after[1][layer, None]),
        )
        assert_same(one, expected)


def test_how_many_weights_are_trained() -> None:
    """Per block: projections, query, key and value of both, two norms, two null tokens."""

    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(LatentTuning((768, 768), layers=1, dim=64)) == 123_392
    assert count(LatentTuning((768, 768), layers=12, dim=64)) == 12 * 123_392
    projections, block = 8 * 11 + 8 * 7, 6 * 64 + 4 * 8 + 2 * 8
    assert count(LatentTuning(WIDTHS, 3, 8)) == 3 * (projections + block)
    assert count(LatentTuning(WIDTHS, 3, 8, share_projections=True)) == projections + 3 * block
    assert count(LatentTuning(WIDTHS, 3, 8, share_blocks=True)) == 3 * projections + block
    assert count(LatentTuning(WIDTHS, 3, 8, share_projections=True, share_blocks=True)) == projections + block
    assert count(LatentTuning(WIDTHS, 3, 8, null_tokens=False)) == 3 * (projections + block - 2 * 8)


def test_every_weight_is_trained() -> None:
    tuning = LatentTuning(WIDTHS, layers=2, dim=8)
    shown = (torch.tensor([True, True, False, True]), torch.tensor([True, False, True, True]))
    found = tuning(states_of(2), some_valid(), shown)
    sum(each.pow(3).sum() for each in found.after).backward()
    for name, parameter in tuning.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_wrong_settings_of_a_block_are_refused() -> None:
    with pytest.raises(ValueError, match="heads: 8 features cannot be cut into 3 heads; take a divisor of 8"):
        LatentTuningBlock(8, heads=3)
    with pytest.raises(ValueError, match='pool: expected "mean" or "cls", got \'max\''):
        LatentTuningBlock(8, pool="max")  # type: ignore[arg-type]


def test_the_mean_of_mixed_layers_is_a_weighted_sum() -> None:
    layers = torch.randn(3, 4, 6)
    mean = LayerMean(3, 6)
    torch.testing.assert_close(mean(layers), layers.mean(0))  # where it starts
    with torch.no_grad():
        mean.matrix.copy_(torch.randn(3, 3))
    mixed = torch.einsum("kl,lnd->knd", mean.matrix, layers)
    torch.testing.assert_close(mean(layers), mixed.mean(0))
    vector = LayerMean(3, 6, "vector")
    torch.testing.assert_close(vector(layers), layers.mean(0))
    with torch.no_grad():
        vector.weights.copy_(mean.matrix.mean(0))
    torch.testing.assert_close(vector(layers), mean(layers))


def test_other_means_of_layers() -> None:
    layers = torch.randn(3, 4, 6)
    plain, mapped = LayerMean(3, 6, "mean"), LayerMean(3, 6, "feature", 5)
    assert not list(plain.parameters())
    torch.testing.assert_close(plain(layers), layers.mean(0))
    torch.testing.assert_close(mapped(layers), torch.stack([mapped.map(each) for each in layers]).mean(0))
    assert (plain.dim, mapped.dim, LayerMean(3, 6, "feature").dim) == (6, 5, 6)
    with pytest.raises(ValueError, match=r"mix: expected .* got 'max'"):
        LayerMean(3, 6, "max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='mix_dim: expected None, or at least 1 with mix="feature"; got 5'):
        LayerMean(3, 6, "matrix", 5)


@pytest.mark.parametrize("kind", [TransformerFusion, ConcatFusion])
@pytest.mark.parametrize("training", [True, False])
def test_fusion_looks_at_what_is_shown_and_at_nothing_else(kind: type[nn.Module], training: bool) -> None:
    fusion = kind(5, WIDTHS, dim=8, dropout=0.0).train(training)
    shared, embeddings = torch.randn(4, 5), [torch.randn(4, width) for width in WIDTHS]
    shown = [torch.tensor([True, False, True, False]), torch.tensor([True, True, False, True])]
    with torch.set_grad_enabled(training):
        before = fusion(shared, embeddings, shown)
        assert before.shape == (4, fusion.dim)
        for which, there in enumerate(shown):
            changed = [each.clone() for each in embeddings]
            changed[which] += 10
            moved = (fusion(shared, changed, shown) - before).abs().amax(1)
            assert torch.equal(moved > 1e-4, there)
            assert (moved[~there] < 1e-6).all()
        assert ((fusion(shared + 1, embeddings, shown) - before).abs().amax(1) > 1e-4).all()


def test_a_modality_that_is_hidden_is_as_one_that_is_not_there() -> None:
    fusion = TransformerFusion(5, WIDTHS, dim=8, dropout=0.0)
    shared, embeddings = torch.randn(4, 5), [torch.randn(4, width) for width in WIDTHS]
    found = fusion(shared, embeddings, [everyone()[0], ~everyone()[0]])
    tokens = torch.stack([fusion.maps[0](shared), fusion.maps[1](embeddings[0])], 1) + fusion.types[:2]
    torch.testing.assert_close(found, fusion.layer(tokens)[:, 0])


def test_fusion_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="fusion_heads: 8 features cannot be cut into 3 heads"):
        TransformerFusion(5, WIDTHS, dim=8, heads=3)
