"""Torchvision's vision transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def test_its_own_head_reads_the_class_token(kinds: Any) -> None:
    case = kinds["torchvision"]()
    head = case.encoder.module.heads
    nn.init.normal_(head.head.weight)
    expected = case.encoder.module(case.inputs)
    torch.testing.assert_close(head(case.encoder(case.inputs).cls), expected)


def test_the_fast_path_without_gradients_agrees(kinds: Any) -> None:
    case = kinds["torchvision"]()
    tokens, mask = torch.randn(2, case.encoder.dim), torch.rand(4, 16) < 0.7
    slow = case.encoder(case.inputs, mask, tokens, isolate=True)
    with torch.no_grad():
        fast = case.encoder(case.inputs, mask, tokens, isolate=True)
    torch.testing.assert_close(fast.extra, slow.extra)
    torch.testing.assert_close(fast.cls, slow.cls)
