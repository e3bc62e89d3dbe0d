"""The Kullback-Leibler divergence of any two distributions: closed where it can be, by draws where not."""

from __future__ import annotations

from typing import Any, cast

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from mmvae.distributions.composite import Blocks, select_columns
from mmvae.distributions.mixture_of_experts import MixtureOfExperts


def divergence(
    q: Distribution, p: Distribution, z: Float[Tensor, "*K *batch D"] | None = None
) -> Float[Tensor, "*batch"]:
    """KL(q || p) in nats, one number for each row of the batch shapes of ``q`` and ``p``, which broadcast.

    Args:
        q: The distribution that is averaged over.
        p: The other one.
        z: Draws of ``q``, with any leading dimensions, for pairs without a closed form; the estimate is the mean of
            log q - log p over them, unbiased and differentiable in what the draws depend on. By default one new draw.
    """
    exact = closed_divergence(q, p)
    if exact is not None:
        return exact
    if z is None:
        z = q.rsample()
    difference = q.log_prob(z) - p.log_prob(z)
    batch = len(torch.broadcast_shapes(q.batch_shape, p.batch_shape))
    leading = tuple(range(difference.ndim - batch))
    return difference.mean(leading) if leading else difference


def closed_divergence(q: Distribution, p: Distribution) -> Float[Tensor, "*batch"] | None:
    """KL(q || p) in nats where it has a closed form, ``None`` where it does not."""
    if isinstance(p, Blocks):
        parts = [
            closed_divergence(select_columns(q, block), part) for part, block in zip(p.parts, p.columns, strict=True)
        ]
        known = [part for part in parts if part is not None]
        return sum(known[1:], start=known[0]) if len(known) == len(parts) else None
    if isinstance(q, Blocks):
        return closed_divergence(q, Blocks([select_columns(p, block) for block in q.columns]))
    if isinstance(q, MixtureOfExperts) or isinstance(p, MixtureOfExperts):
        return None
    if _is_normal(q) and _is_normal(p):
        one, two = cast(Any, q).base_dist, cast(Any, p).base_dist
        ratio, distance = one.scale / two.scale, (one.loc - two.loc) / two.scale
        twice = torch.sub(ratio.square() + distance.square() - 1, ratio.log(), alpha=2)
        return 0.5 * twice.sum(-1)
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def _is_normal(distribution: Distribution) -> bool:
    return (
        isinstance(distribution, Independent)
        and distribution.reinterpreted_batch_ndims == 1
        and isinstance(distribution.base_dist, dist.Normal)
    )
