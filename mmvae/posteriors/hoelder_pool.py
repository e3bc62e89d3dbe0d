"""The pool of square roots of posteriors: exactly, as a mixture, and as the Gaussian of its moments (HELVAE)."""

from __future__ import annotations

import math
from itertools import combinations

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.distributions.full_precision import at_least_float32
from mmvae.distributions.mixture_of_experts import MixtureOfExperts
from mmvae.posteriors.base import SharedFusion
from mmvae.posteriors.experts import Experts


class HoelderPool(SharedFusion):
    """q(z | x_S) ∝ (Σ_{m in S} √q_m(z | x_m))², exactly: a mixture of the experts and of a Gaussian for each pair.

    The pair (i, j) has the component N(μ_ij, v_ij) with v_ij = 2 v_i v_j / (v_i + v_j), the harmonic mean of the
    variances, and μ_ij = (μ_i v_j + μ_j v_i) / (v_i + v_j). It weighs 2 S_ij to the 1 of each expert, where S_ij is the
    overlap ∫√(q_i q_j), a product over all shared columns. So pairs count where experts agree; experts that are far
    apart leave an even mixture.

    Gradients reach the weights through densities and through objectives that average over components.

    Source: Vo, Martínez-García and Valera 2026 (arXiv 2606.13381), the pool of Hölder with α = 1/2; a reconstruction
    from a summary of the paper.
    """

    learns_weights = True

    def fuse_shared(self, experts: Experts, members: Bool[Tensor, "S M"] | None) -> MixtureOfExperts:
        """The pool of the given experts, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        loc, scale = at_least_float32(experts.loc), at_least_float32(experts.scale)
        present = experts.presence(members).movedim(-2, 0)  # [M, *S, N]
        pairs = list(combinations(range(len(experts.names)), 2))
        weights = present
        if pairs:
            one, two = (torch.stack([loc[pair[side]] for pair in pairs]) for side in (0, 1))
            first, second = (torch.stack([scale[pair[side]] for pair in pairs]) for side in (0, 1))
            total = first.square() + second.square()
            middle = (one * second.square() + two * first.square()) / total
            loc, scale = torch.cat([loc, middle]), torch.cat([scale, first * second * (2 / total).sqrt()])
            overlap = log_overlap(one, first, two, second).exp()  # [P, N]
            both = torch.stack([present[i] * present[j] for i, j in pairs])
            weights = torch.cat([present, 2 * both * (overlap if members is None else overlap.unsqueeze(1))])
        if members is not None:  # of rows that have no member, the components are standard
            loc, scale = (each.unsqueeze(1).expand(-1, len(members), -1, -1) for each in (loc, scale))
            nobody = weights.sum(0) == 0
            weights = weights + nobody
            loc = loc.masked_fill(nobody[..., None], 0.0)
            scale = scale.masked_fill(nobody[..., None], 1.0)
        return MixtureOfExperts(loc, scale, weights)


class HoelderGaussian(SharedFusion):
    """The Gaussian whose means and variances are those of :class:`HoelderPool`, column by column.

    Its variance grows where experts disagree, unlike that of a product.

    Source: Vo and Valera 2026 (arXiv 2601.06572), "Hellinger multimodal variational autoencoders".
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = HoelderPool()

    def fuse_shared(self, experts: Experts, members: Bool[Tensor, "S M"] | None) -> Distribution:
        """The Gaussian of the given experts, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        pool = self.pool.fuse_shared(experts, members)
        return dist.Normal(pool.mean, pool.variance.sqrt()).to_event(1)


def log_overlap(
    one: Float[Tensor, "*P D"], first: Float[Tensor, "*P D"], two: Float[Tensor, "*P D"], second: Float[Tensor, "*P D"]
) -> Float[Tensor, "*P"]:
    """The logarithm of ∫√(q_1 q_2) of diagonal Gaussians, the Bhattacharyya coefficient.

    Args:
        one: Locations of q_1.
        first: Its standard deviations.
        two: Locations of q_2.
        second: Its standard deviations.
    """
    total = first.square() + second.square()
    spread = 0.5 * (math.log(2) + first.log() + second.log() - total.log())
    return (spread - 0.25 * (one - two).square() / total).sum(-1)
