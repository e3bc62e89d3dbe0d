"""Distances from points to the codes of a codebook."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


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
