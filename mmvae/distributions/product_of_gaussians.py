"""The product of diagonal Gaussian experts, for many subsets at once."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def product_of_gaussians(
    loc: Float[Tensor, "M N D"],
    scale: Float[Tensor, "M N D"],
    *,
    observed: Bool[Tensor, "M N"] | None = None,
    members: Bool[Tensor, "S M"] | None = None,
    speaks: Bool[Tensor, "M D"] | None = None,
    prior_precision: float | Float[Tensor, "S"] = 0.0,
) -> tuple[Float[Tensor, "*S N D"], Float[Tensor, "*S N D"]]:
    """Location and scale of the normalised product of experts.

    Precisions add: with members S, ``1/scale² = prior + Σ_{m in S} 1/scale_m²``, and the location is the mean of the
    experts' locations under those precisions. A product over nothing at all is the standard normal,
    column by column.

    Args:
        loc: of each expert.
        scale: standard deviation of each expert.
        observed: experts of rows where it is false have no part in any product.
        members: one row per subset. Without it there is one product, over all experts.
        speaks: columns of which each expert speaks; in others it has no part. By default it speaks of all.
        prior_precision: of a further expert at zero, 1 for a standard normal prior; one number for all subsets, or
            one for each.

    Returns:
        ``loc`` and ``scale``, each ``[S, N, D]``, or ``[N, D]`` without ``members``.

    Source: Hinton 2002; Wu and Goodman 2018, "Multimodal generative models for scalable weakly-supervised learning".
    """
    precision = scale.square().reciprocal()  # [M, N, D]
    if observed is not None:
        precision = precision * observed.unsqueeze(-1)
    if speaks is not None:
        precision = precision * speaks.unsqueeze(1)
    weighted = precision * loc
    if members is None:
        total, weighted = precision.sum(0), weighted.sum(0)  # [N, D]
    else:
        membership = members.to(loc.dtype)
        total = (membership @ precision.flatten(1)).unflatten(1, loc.shape[1:])  # [S, N, D]
        weighted = (membership @ weighted.flatten(1)).unflatten(1, loc.shape[1:])
    if isinstance(prior_precision, Tensor):
        prior_precision = prior_precision.to(loc).reshape(-1, 1, 1)
    total = total + prior_precision
    total = torch.where(total > 0, total, torch.ones_like(total))
    return weighted / total, total.rsqrt()
