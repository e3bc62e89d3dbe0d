"""What is true of every token encoder, whoever made the network inside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmvae.nn import EncoderOutput


def same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5)


def extra(case: Any, k: int = 2) -> Tensor:
    return torch.randn(k, case.encoder.dim)


def run(case: Any, *args: Any, **kwargs: Any) -> EncoderOutput:
    return case.encoder(case.inputs, *args, **kwargs)


def assert_same(one: EncoderOutput, other: EncoderOutput) -> None:
    """All that is valid but the extra tokens; what stands under a false mask is nobody's business."""
    assert same(one.cls, other.cls)
    valid = torch.ones(one.tokens.shape[:2], dtype=torch.bool) if one.mask is None else one.mask
    assert same(one.tokens[valid], other.tokens[valid])
    for here, there in zip(one.hidden or (), other.hidden or (), strict=True):
        assert same(here[:, 0], there[:, 0])
        assert same(here[:, 1:][valid], there[:, 1:][valid])


def test_the_attributes_say_what_comes(case: Any) -> None:
    output = run(case)
    rows, tokens = output.tokens.shape[:2]
    assert output.cls.shape == (len(case.inputs), case.encoder.dim)
    assert len(output.hidden) == case.encoder.depth
    assert all(state.shape == (rows, 1 + tokens, case.encoder.dim) for state in output.hidden)
    assert output.extra is None
    assert case.encoder.shape in (None, case.inputs.shape[1:])
    assert case.encoder.dtype == case.inputs.dtype


def test_without_extra_tokens_the_output_is_that_of_the_library(case: Any) -> None:
    if case.bare is None:
        pytest.skip("an encoder of this library's own")
    assert_same(run(case), EncoderOutput(*case.bare(case.inputs)[:2], hidden=tuple(case.bare(case.inputs)[2])))


def test_the_module_is_left_as_it_was(case: Any) -> None:
    before = run(case)
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in case.encoder.modules()]
    run(case, None, extra(case), isolate=True)
    assert [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in case.encoder.modules()] == hooks
    assert torch.equal(run(case).cls, before.cls)


def test_extra_tokens_come_out_and_are_noticed(case: Any) -> None:
    plain, output = run(case), run(case, None, extra(case))
    assert output.extra.shape == (len(case.inputs), 2, case.encoder.dim)
    assert output.tokens.shape == plain.tokens.shape
    assert [state.shape for state in output.hidden] == [state.shape for state in plain.hidden]
    if case.sees_extra:
        assert not same(output.cls, plain.cls)
        assert not same(output.hidden[0], plain.hidden[0])
    else:
        assert_same(output, plain)


def test_isolated_extra_tokens_change_nothing_else(case: Any) -> None:
    tokens = extra(case).requires_grad_()
    output = run(case, None, tokens, isolate=True)
    assert_same(output, run(case))
    (gradient,) = torch.autograd.grad(output.extra.square().sum(), tokens, retain_graph=True)
    assert gradient.abs().sum() > 0
    (leak,) = torch.autograd.grad(output.cls.square().sum(), tokens, allow_unused=True)
    assert leak is None or not leak.any()


@pytest.mark.parametrize("isolate", [False, True])
def test_extra_tokens_read_the_data(case: Any, isolate: bool) -> None:
    tokens = extra(case)
    here = run(case, None, tokens, isolate).extra
    there = case.encoder(case.change_token_1(case.inputs), None, tokens, isolate).extra
    assert not same(here, there)


def test_gradients_reach_the_extra_tokens_through_the_class_token(case: Any) -> None:
    if not case.sees_extra:
        pytest.skip("the class token of a causal model stands before them")
    tokens = extra(case).requires_grad_()
    (gradient,) = torch.autograd.grad(run(case, None, tokens).cls.square().sum(), tokens)
    assert (gradient.abs().sum(1) > 0).all()


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_masked_token_is_without_influence(case: Any, k: int, isolate: bool) -> None:
    if not case.heeds_mask:
        pytest.skip("a module of unknown make looks where it likes")
    tokens = extra(case, k) if k else None
    mask = torch.ones(run(case).tokens.shape[:2], dtype=torch.bool)
    mask[:3, 1] = False
    changed = case.change_token_1(case.inputs)
    here, there = run(case, mask, tokens, isolate), case.encoder(changed, mask, tokens, isolate)
    assert not here.mask[:3, 1].any()
    assert same(here.cls[:3], there.cls[:3])
    assert not same(here.cls[3:], there.cls[3:])  # where it is not masked, it is noticed
    assert same(here.tokens[:3][here.mask[:3]], there.tokens[:3][there.mask[:3]])
    if k:
        assert same(here.extra[:3], there.extra[:3])
        assert not same(here.extra[3:], there.extra[3:])


def test_rows_do_not_meet(case: Any) -> None:
    tokens = extra(case)
    whole, part = run(case, None, tokens), case.encoder(case.inputs[1:2], None, tokens)
    assert same(whole.cls[1:2], part.cls)
    assert same(whole.extra[1:2], part.extra)


def test_a_mask_may_count_the_class_token(case: Any) -> None:
    mask = torch.rand(run(case).tokens.shape[:2]) < 0.7
    longer = torch.nn.functional.pad(mask, (1, 0), value=True)
    assert torch.equal(run(case, longer).cls, run(case, mask).cls)


def test_which_tokens_are_valid() -> None:
    cls, tokens = torch.zeros(2, 4), torch.zeros(2, 3, 4)
    assert EncoderOutput(cls, tokens).valid.tolist() == [[True] * 4] * 2
    mask = torch.tensor([[True, False, False], [False, False, False]])
    assert EncoderOutput(cls, tokens, mask).valid.tolist() == [[True, True, False, False], [True, False, False, False]]


def test_states_are_the_layers_and_the_final_tokens(case: Any) -> None:
    output = run(case)
    assert torch.equal(output.states[:, :, -1], torch.cat([output.cls[:, None], output.tokens], 1))
    assert torch.equal(output.states[:, :, 1], output.hidden[1])
    final_only = EncoderOutput(output.cls, output.tokens)
    assert torch.equal(final_only.states, torch.stack([final_only.final, final_only.final], 2))


def test_data_that_does_not_fit_is_refused_with_what_to_do(case: Any) -> None:
    name = case.encoder.name
    wrong = case.inputs.float() if case.inputs.dtype == torch.int64 else case.inputs.long()
    with pytest.raises(TypeError, match=rf"{name}: expected data of {case.encoder.dtype}, got {wrong.dtype}; convert"):
        case.encoder(wrong)
    with pytest.raises(ValueError, match=rf"{name}: expected .* \[N, .*, got \[4, 1, .*\]"):
        case.encoder(case.inputs[:, None])
    with pytest.raises(
        ValueError, match=rf"{name}: expected a mask of torch.bool and shape \[4, \d+\].*got .* \[4, 3\]"
    ):
        run(case, torch.ones(4, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=rf"{name}: expected extra tokens of shape \[k, \d+\], got \[2, 3\]"):
        run(case, None, torch.randn(2, 3))
