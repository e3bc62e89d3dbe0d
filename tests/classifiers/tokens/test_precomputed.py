"""Hidden states in the place of data."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmvae.nn import Precomputed


def test_states_go_in_and_the_same_output_comes_out(case: Any) -> None:
    mask = torch.rand(case.encoder(case.inputs).tokens.shape[:2]) < 0.7
    there = case.encoder(case.inputs, mask)
    encoder = Precomputed(case.encoder.dim, case.encoder.depth)
    steps = torch.nn.functional.pad(there.mask, (1, 0), value=True)
    here = encoder(there.states.detach(), steps)
    assert torch.equal(here.cls, there.cls)
    assert torch.equal(here.tokens, there.tokens)
    assert torch.equal(here.mask, there.mask)
    assert all(map(torch.equal, here.hidden, there.hidden))
    assert here.extra is None


def test_states_of_another_make_are_refused() -> None:
    encoder = Precomputed(8, 2)
    with pytest.raises(ValueError, match=r"expected states of shape \[N, 1 \+ n, 3, 8\].*got \[4, 5, 2, 8\]"):
        encoder(torch.randn(4, 5, 2, 8))
    with pytest.raises(ValueError, match=r"Precomputed: extra tokens were given"):
        encoder(torch.randn(4, 5, 3, 8), None, torch.randn(1, 8))
    with pytest.raises(ValueError, match="depth: expected at least 1, got 0"):
        Precomputed(8, 0)
    with pytest.raises(ValueError, match=r"length: expected at least 1, got 0"):
        Precomputed(8, 2, length=0)


def test_a_length_is_heeded() -> None:
    encoder = Precomputed(8, 2, length=4)
    assert encoder(torch.randn(3, 5, 3, 8)).tokens.shape == (3, 4, 8)
    with pytest.raises(ValueError, match=r"expected data of shape \[N, 5, 3, 8\], got \[3, 6, 3, 8\]"):
        encoder(torch.randn(3, 6, 3, 8))
