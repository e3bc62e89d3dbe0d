"""The product of diagonal Gaussian experts, for many subsets at once."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.distributions.full_precision import at_least_float32, without_autocast


def product_of_gaussians(
    loc: Float[Tensor, "M N D"],
    scale: Float[Tensor, "M N D"],
    *,
    observed: Bool[Tensor, "M N"] | None = None,
    members: Bool[Tensor, "S M"] | None = None,
    speaks: Bool[Tensor, "M D"] | None = None,
    prior_precision: float | Float[Tensor, "S"] | Float[Tensor, "#S 1 D"] = 0.0,
) -> tuple[Float[Tensor, "*S N D"], Float[Tensor, "*S N D"]]:
    """Location and scale of the normalised product of experts.

    Precisions add: with members S, ``1/scale² = prior + Σ_{m in S} 1/scale_m²``, and the location is the mean of the
    experts' locations under those precisions. A product over nothing at all is the standard normal, column by column.
    Computed in at least float32, whatever the precision around it.

    Args:
        loc: of each expert.
        scale: standard deviation of each expert.
        observed: experts of rows where it is false have no part in any product.
        members: one row per subset. Without it there is one product, over all experts.
        speaks: columns of which each expert speaks; in others it has no part. By default it speaks of all.
        prior_precision: of a further expert at zero, 1 for a standard normal prior; one number for all subsets, one for
            each, or one for each and each column.

    Returns:
        ``loc`` and ``scale``, each ``[S, N, D]``, or ``[N, D]`` without ``members``.

    Source: Hinton 2002; Wu and Goodman 2018, "Multimodal generative models for scalable weakly-supervised learning".
    """
    precision, weighted = _natural(loc, scale, observed, speaks)
    chosen = None if members is None else members.to(precision.dtype)
    total, weighted = _over_members(precision, chosen), _over_members(weighted, chosen)
    if isinstance(prior_precision, Tensor):
        prior_precision = prior_precision.to(total)
        if prior_precision.ndim == 1:
            prior_precision = prior_precision.reshape(-1, 1, 1)
        if members is None:
            prior_precision = prior_precision.squeeze(0)
    total = total + prior_precision
    if not (observed is None and members is None and speaks is None):  # otherwise no product is over nothing
        total = torch.where(total > 0, total, torch.ones_like(total))
    return weighted / total, total.rsqrt()


def corrected_product_of_gaussians(
    loc: Float[Tensor, "M N D"],
    scale: Float[Tensor, "M N D"],
    *,
    observed: Bool[Tensor, "M N"] | None = None,
    members: Bool[Tensor, "S M"] | None = None,
    speaks: Bool[Tensor, "M D"] | None = None,
) -> tuple[Float[Tensor, "*S N D"], Float[Tensor, "*S N D"]]:
    """Location and scale of a product of posteriors, each of which contains a standard normal prior.

    The prior is divided out of all but one: ``1/scale² = Σ_{m in S} 1/scale_m² - (|S| - 1)``. Where no expert is wider
    than the prior, that is at least the precision of the surest one. Wider experts could make it small or negative, so
    it is kept at or above the precision of the least sure one: N(3, 2²) times a posterior that knows nothing, N(0, 1),
    is N(3, 2²).

    Args:
        loc: of each expert.
        scale: standard deviation of each expert.
        observed: experts of rows where it is false have no part in any product.
        members: one row per subset. Without it there is one product, over all experts.
        speaks: columns of which each expert speaks; in others it has no part. By default it speaks of all.

    Returns:
        ``loc`` and ``scale``, each ``[S, N, D]``, or ``[N, D]`` without ``members``; the standard normal for a row that
        has no member of the subset.

    Source: the factor p(z)^(|S| - 1) is that of Wu and Goodman 2018, section 2.2; the bound is this library's.
    """
    precision, weighted = _natural(loc, scale, observed, speaks)
    seen = at_least_float32(loc.new_ones(loc.shape[:2]) if observed is None else observed.to(loc.dtype)).unsqueeze(-1)
    if speaks is not None:
        seen = seen * speaks.unsqueeze(1)  # [M, N, D]
    count = _over_members(seen, members)  # [*S, N, 1 or D]
    corrected = _over_members(precision, members) - (count - 1)
    least = torch.full_like(corrected, torch.inf)
    for place, each in enumerate(precision):
        taken = seen[place] > 0
        if members is not None:
            taken = taken & members[:, place, None, None]
        least = torch.minimum(least, torch.where(taken, each, torch.inf))
    corrected = torch.where(count > 0, torch.maximum(corrected, least), torch.ones_like(corrected))
    return _over_members(weighted, members) / corrected, corrected.rsqrt()


def pool_of_gaussians(
    loc: Float[Tensor, "M N D"],
    scale: Float[Tensor, "M N D"],
    weights: Float[Tensor, "M D"],
    *,
    observed: Bool[Tensor, "M N"] | None = None,
    members: Bool[Tensor, "S M"] | None = None,
) -> tuple[Float[Tensor, "*S N D"], Float[Tensor, "*S N D"]]:
    """Location and scale of the geometric mean of experts, ``Π_m q_m^α_m`` with ``Σ_m α_m = 1`` in each column.

    α is normalised over the experts that are there, so the precision is the weighted mean of theirs.

    Args:
        loc: of each expert.
        scale: standard deviation of each expert.
        weights: α before it is normalised, above zero.
        observed: experts of rows where it is false have no part.
        members: one row per subset. Without it there is one pool, of all experts.

    Returns:
        ``loc`` and ``scale``, each ``[S, N, D]``, or ``[N, D]`` without ``members``; the standard normal for a row that
        has no member of the subset.

    Source: Cao and Fleet 2014, "Generalized product of experts for automatic and principled fusion of Gaussian process
    predictions".
    """
    precision, weighted = _natural(loc, scale, observed, None)
    amounts = at_least_float32(weights).unsqueeze(1).expand_as(precision)
    if observed is not None:
        amounts = amounts * observed.unsqueeze(-1)
    total, precision = _over_members(amounts, members), _over_members(amounts * precision, members)
    has = total > 0
    mean = _over_members(amounts * weighted, members) / torch.where(has, precision, 1.0)
    return mean, torch.where(has, torch.where(has, total, 1.0) / torch.where(has, precision, 1.0), 1.0).sqrt()


def product_of_dependent_gaussians(
    loc: Float[Tensor, "M N D"],
    scale: Float[Tensor, "M N D"],
    correlation: float,
    *,
    observed: Bool[Tensor, "M N"] | None = None,
    members: Bool[Tensor, "S M"] | None = None,
) -> tuple[Float[Tensor, "*S N D"], Float[Tensor, "*S N D"]]:
    """Location and scale of the consensus of experts whose errors are correlated.

    The errors of n experts are jointly Gaussian with covariance Σ, σ_i² on its diagonal and ρ σ_i σ_j elsewhere. Under
    a flat prior the precision is A = 1'Σ⁻¹1 and the location 1'Σ⁻¹μ / A. With a_i = 1/σ_i this needs no inverse:

    A = (Σ a_i² - ρ/(1 + (n-1)ρ) (Σ a_i)²) / (1 - ρ), and 1'Σ⁻¹μ likewise with a_i² μ_i and (Σ a_i)(Σ a_i μ_i).

    An expert may have a negative weight: a vague one that is correlated with a sharp one is subtracted, and the
    location may lie outside the range of theirs.

    Args:
        loc: of each expert.
        scale: standard deviation of each expert.
        correlation: ρ, from 0 to below 1.
        observed: experts of rows where it is false have no part.
        members: one row per subset. Without it there is one consensus, of all experts.

    Returns:
        ``loc`` and ``scale``, each ``[S, N, D]``, or ``[N, D]`` without ``members``; the standard normal for a row that
        has no member of the subset.

    Source: Mancisidor et al. 2025, "Aggregation of dependent expert distributions in multimodal variational
    autoencoders", lemma 2; the closed form is this library's.
    """
    sharpness = at_least_float32(scale).reciprocal()
    loc = at_least_float32(loc)
    seen = torch.ones_like(sharpness[..., :1]) if observed is None else observed.to(loc.dtype).unsqueeze(-1)
    sharpness = sharpness * seen
    count = _over_members(seen, members)
    share = correlation / (1 + (count - 1) * correlation)
    total = _over_members(sharpness, members)
    precision = _over_members(sharpness.square(), members) - share * total.square()
    pull = _over_members(sharpness.square() * loc, members) - share * total * _over_members(sharpness * loc, members)
    precision = torch.where(count > 0, precision / (1 - correlation), 1.0)
    return pull / (1 - correlation) / precision, precision.rsqrt()


def _natural(loc: Tensor, scale: Tensor, observed: Tensor | None, speaks: Tensor | None) -> tuple[Tensor, Tensor]:
    """Precisions, and locations times precisions, ``[M, N, D]``; zero where there is no expert."""
    loc, precision = at_least_float32(loc), at_least_float32(scale).square().reciprocal()
    if observed is not None:
        precision = precision * observed.unsqueeze(-1)
    if speaks is not None:
        precision = precision * speaks.unsqueeze(1)
    return precision, precision * loc


def _over_members(
    values: Float[Tensor, "M N D"], members: Bool[Tensor, "S M"] | Float[Tensor, "S M"] | None
) -> Float[Tensor, "*S N D"]:
    """The sums over the members of each subset, or over all experts."""
    if members is None:
        return values.sum(0)
    with without_autocast(values):  # which would round the factors of a product of matrices
        return (members.to(values.dtype) @ values.flatten(1)).unflatten(1, values.shape[1:])
