"""Vectors by modality, and where there are any."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked(
    features: Mapping[str, Float[Tensor, "N *_ D"]], valid: Mapping[str, Bool[Tensor, "N *_"]] | None
) -> tuple[dict[str, Float[Tensor, "N *_ D"]], dict[str, Bool[Tensor, "N *_"]]]:
    """The vectors with zeros where they are not valid, and a mask for each modality.

    Args:
        features: by modality.
        valid: where there is a vector; names left out are valid throughout.

    Raises:
        ValueError: for a mask of another shape.
    """
    vectors, masks = {}, {}
    for name, each in features.items():
        mask = None if valid is None else valid.get(name)
        if mask is None:
            mask = torch.ones_like(each[..., 0], dtype=torch.bool)
        if mask.shape != each.shape[:-1]:
            raise ValueError(
                f"{name}: expected a mask of shape {tuple(each.shape[:-1])}, one entry a vector, got "
                f"{tuple(mask.shape)}."
            )
        vectors[name], masks[name] = torch.where(mask.unsqueeze(-1), each, 0), mask
    return vectors, masks
