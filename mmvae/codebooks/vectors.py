"""Vectors of several modalities of which some are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mmvae.collectives import mean_over


def squared_distances(points: Float[Tensor, "*P D"], codebook: Float[Tensor, "L D"]) -> Float[Tensor, "*P L"]:
    """The squared Euclidean distance of each point to each code, at least 0; differentiable in both."""
    points, codebook = _centred(points, codebook)
    return (points.square().sum(-1, keepdim=True) + _offsets(points, codebook)).clamp_min(0)


def nearest(points: Float[Tensor, "*P D"], codebook: Float[Tensor, "L D"]) -> Int64[Tensor, "*P"]:
    """The index of the code nearest to each point; of several, the first."""
    with torch.no_grad():
        return _offsets(*_centred(points, codebook)).argmin(-1)


def _centred(points: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Both seen from the middle of the codes: what they have in common would cost the digits that tell them apart."""
    middle = codebook.detach().mean(0)
    return points.to(codebook.dtype) - middle, codebook - middle


def _offsets(points: Tensor, codebook: Tensor) -> Tensor:
    """Squared distances less the squared norm of the point, ``[*P, L]``, in one matrix product of full precision."""
    with torch.autocast(points.device.type, enabled=False):
        return codebook.square().sum(-1) - 2 * points @ codebook.T


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
