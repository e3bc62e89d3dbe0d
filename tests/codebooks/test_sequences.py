"""Networks over steps against slow references; steps that are not there reach nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmvae.codebooks.sequences import CoarseEncoder, ConvStem, StepDecoder, StepEncoder, StepReadout
from mmvae.nn import PatchSteps, SequenceEncoder

VALID = torch.tensor([[True, True, True, True], [True, False, False, True], [False, False, False, False]])


def attended_by_hand(layer: nn.TransformerEncoderLayer, x: Tensor, heads: int) -> Tensor:
    """Self-attention of one sequence, ``[T, D]``, head by head and step by step."""
    weight, bias = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
    queries, keys, values = (functional.linear(x, w, b) for w, b in zip(weight.chunk(3), bias.chunk(3), strict=True))
    size = x.shape[1] // heads
    rows = []
    for step in range(len(x)):
        found = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([queries[step, part] @ key[part] for key in keys]) / size**0.5
            found.append(torch.softmax(scores, 0) @ values[:, part])
        rows.append(torch.cat(found))
    return layer.self_attn.out_proj(torch.stack(rows))


def test_encoder_is_linear_then_layers_that_normalise_after_they_add() -> None:
    encoder = SequenceEncoder(3, 8, layers=2, heads=2, feedforward=5).eval()
    steps = torch.randn(2, 4, 3)
    for row, found in zip(steps, encoder(steps), strict=True):
        x = encoder.linear(row)
        for layer in encoder.layers:
            assert isinstance(layer, nn.TransformerEncoderLayer)
            x = layer.norm1(x + attended_by_hand(layer, x, heads=2))
            x = layer.norm2(x + layer.linear2(layer.linear1(x).relu()))
        torch.testing.assert_close(found, x)
    assert SequenceEncoder(3, 8).layers[0].linear1.out_features == 32  # type: ignore[union-attr]


def test_steps_are_a_set_unless_positions_are_learned() -> None:
    steps, turned = torch.randn(2, 5, 3), torch.tensor([3, 0, 4, 1, 2])
    plain, placed = SequenceEncoder(3, 8).eval(), SequenceEncoder(3, 8, positions=5).eval()
    torch.testing.assert_close(plain(steps[:, turned]), plain(steps)[:, turned])
    assert not torch.allclose(placed(steps[:, turned]), placed(steps)[:, turned], atol=1e-3)
    assert plain.positions is None
    assert placed.positions is not None
    assert placed.positions.shape == (5, 8)


def test_steps_that_are_not_there_are_not_seen() -> None:
    encoder = SequenceEncoder(3, 8, positions=4).eval()
    steps = torch.randn(3, 4, 3)
    noisy = torch.where(VALID.unsqueeze(-1), steps, 1e6)
    for grad in (True, False):  # without gradients, torch takes another kernel
        with torch.set_grad_enabled(grad):
            found = encoder(steps, VALID)
            assert torch.equal(encoder(noisy, VALID), found)
            assert not found[~VALID].any()
            torch.testing.assert_close(found[0], encoder(steps[:1])[0])
            beginning = torch.tensor([[True, True, False, False]])
            torch.testing.assert_close(encoder(steps[:1], beginning)[:, :2], encoder(steps[:1, :2]))


def test_a_row_without_steps_gives_finite_gradients() -> None:
    encoder = SequenceEncoder(3, 8)
    encoder(torch.randn(3, 4, 3), VALID).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_stem_gives_a_step_for_each_patch_row_by_row() -> None:
    steps = PatchSteps((1, 32, 32), (8, 16))
    stem = ConvStem(steps)
    convolutions = [layer for layer in stem.layers if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32, 64, 128]
    assert stem.width == 128
    with torch.no_grad():
        for layer in convolutions:  # each looks at one pixel
            nn.init.dirac_(layer.weight)
            layer.bias.zero_()  # type: ignore[union-attr]
    for patch in range(8):
        only = torch.zeros(1, 8, 128)
        only[:, patch] = 1  # a picture that is white in one patch
        assert stem(steps.inverse(only))[0].sum(-1).nonzero().flatten().tolist() == [patch]


def test_stem_takes_small_images_too() -> None:
    assert ConvStem(PatchSteps((3, 5, 4), 2))(torch.rand(2, 3, 5, 4)).shape == (2, 6, 128)


def test_step_encoder_and_decoder() -> None:
    encoder = StepEncoder(3, 4)
    data = torch.randn(2, 5, 3)
    linear = encoder[0]
    assert torch.equal(encoder(data), linear(data).clamp_min(0))
    general, specific = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    plain = StepDecoder(4, 3)
    expected = plain.layers[0](torch.cat([plain.general(general), specific], -1))
    torch.testing.assert_close(plain(general, specific), expected)
    assert len(plain.layers) == 1
    assert [type(layer) for layer in StepDecoder(4, 3, (7,)).layers] == [nn.Linear, nn.ReLU, nn.Linear]


def test_coarse_encoder_pools_and_splits() -> None:
    coarse = CoarseEncoder(6)
    features = torch.randn(3, 4, 6)
    means = torch.stack([features[0].mean(0), features[1, [0, 3]].mean(0), torch.zeros(6)])
    torch.testing.assert_close(coarse.pool(features, VALID), coarse.linear(means))
    torch.testing.assert_close(coarse(features), coarse.general(coarse.linear(features.mean(1))))
    each = torch.stack([coarse(features[:, step : step + 1]) for step in range(4)], 1)
    torch.testing.assert_close(coarse.split(features), each)
    assert (coarse(features) >= 0).all()
    assert CoarseEncoder(6, specific=False).specific is None


def test_readout_makes_as_many_steps_as_it_has_met() -> None:
    readout = StepReadout(4, 3, most=9, hidden=8)
    vectors = torch.randn(2, 4)
    assert readout(vectors).shape == (2, 1, 3)
    assert readout(vectors, 5).shape == (2, 5, 3)
    readout.eval()(vectors, 7)
    assert readout(vectors).shape == (2, 5, 3)
    torch.testing.assert_close(readout(vectors, 2), readout(vectors)[:, :2])
    assert not torch.allclose(readout(vectors)[:, 0], readout(vectors)[:, 1])
    assert StepReadout(4, 3, most=9, hidden=8, length=6)(vectors).shape == (2, 6, 3)
