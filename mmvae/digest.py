"""A digest of tensors: equal for equal tensors, on any device and machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Return the SHA-256 of named tensors (names, types, shapes and values, in the order of the names) and of a text.

    Args:
        tensors: Of any shapes and types, on any devices.
        text: Whatever else belongs to them.
    """
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"\n{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
