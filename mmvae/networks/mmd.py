"""The maximum mean discrepancy: how far apart the distributions are that two samples come from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mmvae.distributions.full_precision import at_least_float32, without_autocast

_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(
    a: Float[Tensor, "*L N D"], b: Float[Tensor, "B D"], weights: Float[Tensor, "*L N"] | None = None
) -> Float[Tensor, "*L"]:
    """The squared maximum mean discrepancy of samples, estimated without bias; below zero now and then.

    The kernel is a sum of inverse multiquadrics C / (C + |x - y|²), with C = 2 D s for s from 0.1 to 10: 2 D is the
    mean squared distance of two draws of a standard normal.

    Args:
        a: N rows; leading dimensions are samples that have nothing to do with each other.
        b: B rows, the other sample of each.
        weights: 1 for the rows of ``a`` that count, 0 for others; by default all count.

    Returns:
        Zero where fewer than two rows count.

    Source: Gretton et al. 2012, "A kernel two-sample test"; the kernel of Tolstikhin et al. 2018, "Wasserstein
    auto-encoders".
    """
    with without_autocast(a):
        a, b = at_least_float32(a), at_least_float32(b)
        weights = torch.ones_like(a[..., 0]) if weights is None else weights
        count, others = weights.sum(-1), b.shape[-2]
        kernel_a, kernel_b, between = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    kernel_a = kernel_a * (1 - torch.eye(a.shape[-2], device=a.device, dtype=a.dtype))  # a row with itself says nothing
    within_a = (weights.unsqueeze(-1) * kernel_a * weights.unsqueeze(-2)).sum((-2, -1))
    within_a = within_a / (count * (count - 1)).clamp_min(1)
    within_b = kernel_b.sum((-2, -1)) - kernel_b.diagonal(dim1=-2, dim2=-1).sum(-1)
    within_b = within_b / max(others * (others - 1), 1)
    across = (weights.unsqueeze(-1) * between).sum((-2, -1)) / (count * others).clamp_min(1)
    return torch.where(count > 1, within_a + within_b - 2 * across, 0.0)


def _kernel(a: Float[Tensor, "*L N D"], b: Float[Tensor, "*K B D"]) -> Float[Tensor, "*L N B"]:
    squares = (a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2) - 2 * a @ b.mT).clamp_min(0.0)
    width = 2.0 * a.shape[-1]
    return torch.stack([width * scale / (width * scale + squares) for scale in _SCALES]).sum(0)
