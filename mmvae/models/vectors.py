"""Vectors of several modalities of which some are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.nn.processes import mean_over

Valid = Bool[Tensor, "N *T"] | None
"""Where there is a vector; ``None`` for everywhere."""

Pair = tuple[Tensor, Tensor, Valid]
"""General and specific vectors that are to be kept apart, and where they are."""


def both_valid(one: Valid, other: Valid) -> Valid:
    """Where there is a vector in both."""
    return other if one is None else one if other is None else one & other


def mean_square(
    output: Float[Tensor, "N *T W"], target: Float[Tensor, "N *T W"], valid: Valid = None
) -> Float[Tensor, ""]:
    """The mean squared difference over the elements of all valid vectors; 0 where there are none."""
    squares = (output - target).square().mean(-1)
    return mean_over(squares, valid)


def filled(
    features: Mapping[str, Tensor], valid: Mapping[str, Valid], names: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Vectors and masks of all ``names``; of a modality that the batch lacks, no vector is valid.

    They come in the order of the alphabet, so that what counts modalities in turn does not depend on the order in which
    a user gave them.

    Args:
        features: ``[N, *T, D]`` by modality.
        valid: by modality, where there is a vector.
        names: of the modalities to return.

    Returns:
        Vectors and masks of all names; ``None`` in the place of masks if all vectors are valid.
    """
    names = sorted(names)
    if all(name in features and valid[name] is None for name in names):
        return {name: features[name] for name in names}, None
    example = next(iter(features.values()))
    vectors = {name: features[name] if name in features else torch.zeros_like(example) for name in names}
    masks = {}
    for name, each in vectors.items():
        mask = valid[name] if name in features else torch.zeros_like(each[..., 0], dtype=torch.bool)
        masks[name] = torch.ones_like(each[..., 0], dtype=torch.bool) if mask is None else mask
    return vectors, masks


def averaged(features: Mapping[str, Tensor], valid: Mapping[str, Valid]) -> tuple[Tensor, Valid]:
    """The mean over the modalities whose vector is there, and where there is any; zeros elsewhere.

    Args:
        features: ``[N, *T, D]`` by modality.
        valid: by modality, where there is a vector.

    Raises:
        ValueError: for modalities whose steps differ.
    """
    names = tuple(features)
    if len(names) == 1:
        return features[names[0]], valid[names[0]]
    lengths = {name: each.shape[1] for name, each in features.items() if each.ndim == 3}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"subset: vectors of several modalities are averaged step by step, but their steps differ: {lengths}; "
            f"infer from one of them."
        )
    stacked = torch.stack(tuple(features.values()))  # [M, N, *T, D]
    if all(mask is None for mask in valid.values()):
        return stacked.mean(0), None
    everywhere = torch.ones_like(stacked[0, ..., 0], dtype=torch.bool)
    masks = torch.stack([everywhere if valid[name] is None else valid[name] for name in names])  # type: ignore[misc]
    total = torch.where(masks.unsqueeze(-1), stacked, 0).sum(0)
    return total / masks.sum(0).clamp_min(1).unsqueeze(-1), masks.any(0)
