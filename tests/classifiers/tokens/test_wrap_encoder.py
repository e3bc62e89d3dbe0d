"""Modules of any make as token encoders, and what is said to those that are none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmvae.nn import HuggingFaceEncoder, TorchvisionViT, ViT, WrappedEncoder, wrap_encoder


class Made(nn.Module):
    """Whatever a function makes of numbers ``[N, 4, 3]`` lifted to ``[N, 4, 6]``."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.lift = nn.Linear(3, 6)
        self.make = make
        self.calls: list[Tensor] = []

    def forward(self, data: Tensor) -> Any:
        self.calls.append(data)
        return self.make(self.lift(data))


class Masked(nn.Module):
    """Tokens, and the mean of those that the mask leaves."""

    def forward(self, data: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        weights = torch.ones(data.shape[:2]) if mask is None else mask.float()
        return (data * weights[..., None]).sum(1) / weights.sum(1, keepdim=True), data


def pair(tokens: Tensor) -> tuple[Tensor, Tensor]:
    return tokens.amax(1), tokens


def test_an_encoder_is_returned_as_it_is() -> None:
    encoder = ViT((1, 4, 4), patch=2, dim=8, heads=2)
    assert wrap_encoder(encoder) is encoder


def test_the_libraries_have_adapters_of_their_own(kinds: Any) -> None:
    assert isinstance(wrap_encoder(kinds["torchvision"]().encoder.module), TorchvisionViT)
    bert = wrap_encoder(kinds["bert"]().encoder.module, shape=(9,))
    assert isinstance(bert, HuggingFaceEncoder)
    assert bert.shape == (9,)
    own_way = wrap_encoder(kinds["bert"]().encoder.module, hidden="encoder.layer", shape=(9,), dtype=torch.int64)
    assert isinstance(own_way, WrappedEncoder)
    assert own_way.depth == 3


def test_a_pair_is_class_token_and_tokens() -> None:
    module, data = Made(pair), torch.randn(2, 4, 3)
    encoder = wrap_encoder(module, shape=(4, 3))
    output = encoder(data)
    assert torch.equal(output.cls, module.lift(data).amax(1))
    assert torch.equal(output.tokens, module.lift(data))
    assert output.hidden is None
    assert (encoder.dim, encoder.depth, encoder.offers_hidden, encoder.takes_extra) == (6, 1, False, False)


def test_an_object_has_the_class_token_first_and_the_embedded_tokens_among_the_hidden() -> None:
    module = Made(lambda tokens: SimpleNamespace(last_hidden_state=4 * tokens, hidden_states=(tokens, 2 * tokens)))
    data = torch.randn(2, 4, 3)
    encoder = wrap_encoder(module, shape=(4, 3))
    output = encoder(data)
    assert torch.equal(output.final, 4 * module.lift(data))
    (state,) = output.hidden
    assert torch.equal(state, 2 * module.lift(data))
    assert encoder.depth == 1
    assert encoder.offers_hidden


def test_a_tensor_has_the_class_token_first() -> None:
    module, data = Made(lambda tokens: tokens), torch.randn(2, 4, 3)
    output = wrap_encoder(module, shape=(4, 3))(data)
    assert torch.equal(output.cls, module.lift(data)[:, 0])
    assert output.tokens.shape == (2, 3, 6)


def test_without_a_class_token_the_valid_tokens_have_a_mean() -> None:
    module, data = Made(lambda tokens: tokens), torch.randn(2, 4, 3)
    encoder = wrap_encoder(module, output=lambda tokens: (None, tokens), hidden=["lift"], shape=(4, 3))
    mask = torch.tensor([[True, False, True, False], [False, False, False, True]])
    output = encoder(data, mask)
    torch.testing.assert_close(output.cls[0], module.lift(data)[0, [0, 2]].mean(0))
    torch.testing.assert_close(output.cls[1], module.lift(data)[1, 3])
    (state,) = output.hidden
    torch.testing.assert_close(state[:, 0], output.cls)
    assert torch.equal(state[:, 1:], module.lift(data))


def test_a_module_that_takes_a_mask_is_given_it() -> None:
    data = torch.randn(2, 4, 3)
    mask = torch.tensor([[True, True, False, False]] * 2)
    output = wrap_encoder(Masked(), shape=(4, 3))(data, mask)
    torch.testing.assert_close(output.cls, data[:, :2].mean(1))
    assert torch.equal(output.mask, mask)


def test_without_a_shape_the_first_call_tries_the_module_out() -> None:
    module = Made(pair)
    encoder = wrap_encoder(module, dim=6)
    assert module.calls == []
    assert encoder.shape is None
    data = torch.randn(3, 4, 3)
    encoder(data)
    encoder(data)
    assert [len(call) for call in module.calls] == [2, 2, 3, 3]  # two of an example, once; then the data, twice
    with pytest.raises(ValueError, match=r"Made: expected of 2 data points cls \[2, 7\]"):
        wrap_encoder(Made(pair), dim=7)(data)


def test_trying_out_leaves_the_module_in_its_mode_and_makes_no_gradients() -> None:
    module = Made(pair).train()
    module.make = lambda tokens: pair(tokens) if not module.training and not tokens.requires_grad else None
    wrap_encoder(module, shape=(4, 3))
    assert module.training


def test_ids_are_data_too() -> None:
    module = nn.Embedding(10, 6)
    encoder = wrap_encoder(module, dtype=torch.int64, shape=(4,))
    assert encoder(torch.randint(10, (2, 4))).tokens.shape == (2, 3, 6)


def test_extra_tokens_need_a_place() -> None:
    encoder = wrap_encoder(Made(pair), shape=(4, 3))
    with pytest.raises(ValueError, match=r"Made: extra tokens were given, but this encoder has no place.*embed="):
        encoder(torch.randn(2, 4, 3), None, torch.randn(1, 6))
    encoder = wrap_encoder(Made(pair), embed="lift", shape=(4, 3))
    data, extra = torch.randn(2, 4, 3), torch.full((1, 6), 9.0)
    noticed, isolated = encoder(data, None, extra), encoder(data, None, extra, isolate=True)
    assert torch.equal(noticed.extra, extra.expand(2, 1, 6))
    assert torch.equal(noticed.cls, torch.full((2, 6), 9.0))
    assert torch.equal(isolated.cls, encoder(data).cls)
    assert torch.equal(isolated.extra, noticed.extra)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda t: (t, t.mean(1)),
            ValueError,
            r"cls \[2, d\] and tokens \[2, n, d\], got \(torch.float32 \[2, 4, 6\], ",
        ),
        (lambda t: (t.mean(1)[:, :5], t), ValueError, r"expected of 2 data points cls \[2, 6\].*got .*\[2, 5\]"),
        (lambda t: (t.mean(1), t.flatten(0, 1)), ValueError, r"got \(torch.float32 \[2, 6\], torch.float32 \[8, 6\]\)"),
        (lambda t: t.mean(1), TypeError, r"expected \(cls, tokens\).*got torch.float32 \[2, 6\]; say what is what"),
        (lambda t: {"x": t}, TypeError, r"got dict; say what is what: wrap_encoder\(module, output="),
        (lambda t: pair(t / 0), ValueError, r"expected cls of finite real numbers, got NaN or infinity"),
        (lambda t: pair(t.long()), ValueError, r"expected cls of finite real numbers, got torch.int64"),
    ],
)
def test_what_is_no_tokens_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"Made: .*{message}"):
        wrap_encoder(Made(make), shape=(4, 3))


def test_what_else_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"Made: expected the shape of one datum.*got neither; give"):
        wrap_encoder(Made(pair))
    with pytest.raises(ValueError, match=r"expected 5 tokens with one more behind the output of 'lift', got 4"):
        wrap_encoder(Made(lambda tokens: pair(tokens[:, :4])), embed="lift", shape=(4, 3))
    with pytest.raises(ValueError, match=r"behind the output of 'nothing', got the error .*no attribute"):
        wrap_encoder(Made(pair), embed="nothing", shape=(4, 3))
    uneven = Made(lambda tokens: SimpleNamespace(last_hidden_state=tokens, hidden_states=(tokens, tokens[:, :2])))
    with pytest.raises(ValueError, match=r"expected hidden states of shape \[2, 4, 6\].*got \[2, 2, 6\]"):
        wrap_encoder(uneven, shape=(4, 3))
