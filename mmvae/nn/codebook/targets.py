"""What a code learns from a vector that chose it: half that vector, half what the other modalities say there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Partner = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a modality's own vectors, another's, and where those are valid, the partner of each own vector ``[N, *T, D]``,
and whether it has one, bool ``[N, *T]``."""


def mixed_targets(
    features: Mapping[str, Float[Tensor, "N *T D"]], valid: Mapping[str, Bool[Tensor, "N *T"]], partner: Partner
) -> dict[str, Float[Tensor, "N *T D"]]:
    """For each vector, half itself and half the mean of its partners in the other modalities.

    With two modalities the weights are 1/2 and 1/2, with three 1/2, 1/4 and 1/4, with M 1/2 and 1/(2 M - 2). Partners
    that are missing leave their share to those that are there; without any, the target is the vector itself.

    Args:
        features: the vectors of each modality, zeros where they are not valid.
        valid: where there is a vector.
        partner: says which vector of another modality goes with each.
    """
    targets = {}
    for name, own in features.items():
        total, count = torch.zeros_like(own), own.new_zeros(own.shape[:-1])
        for other, mask in valid.items():
            if other != name:
                vectors, present = partner(own, features[other], mask)
                total = total + torch.where(present.unsqueeze(-1), vectors, 0)
                count = count + present
        count = count.unsqueeze(-1)  # [N, *T, 1]
        targets[name] = torch.where(count > 0, 0.5 * own + 0.5 * total / count.clamp_min(1), own)
    return targets


def at_same_step(own: Tensor, other: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The vector of the other modality at the same step of the same row."""
    return other, valid


def attended(own: Tensor, other: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the other modality's vectors in the same row, weighted by a softmax of scaled inner products.

    Source: Xia et al. 2023, equation 7; the scale, the square root of the width, is that of ordinary attention.
    """
    queries, keys = _one_step_axis(own), _one_step_axis(other)  # [N, T, D]
    mask = valid.reshape(len(valid), 1, -1)  # [N, 1, T']
    scores = queries @ keys.mT / math.sqrt(own.shape[-1])
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), -1)
    present = mask.any(-1).expand(queries.shape[:2]).reshape(own.shape[:-1])
    return (weights @ keys).reshape(own.shape), present


def _one_step_axis(features: Tensor) -> Tensor:
    return features.reshape(len(features), -1, features.shape[-1])
