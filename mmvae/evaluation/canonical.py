"""How much of the latent of one modality a linear map could read off that of another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from mmvae.evaluation.context import Context
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, make_row
from mmvae.networks.cca import canonical_correlations
from mmvae.words import Words

_RIDGE = 1e-3
_TRUSTED = 4
"""Data points by latent dimension, from which on the correlations of independent views are low."""


@metric(
    Words(
        "canonical_correlation",
        "Canonical correlation",
        "Mean canonical correlation of the latents from two single modalities of the same datum.",
        better="higher",
    ),
    about="pairs of modalities",
)
def canonical_correlation(context: Context) -> Iterator[Row]:
    """The mean of the D canonical correlations of the posterior means given each of two modalities, in both orders.

    Between 0 and 1, over the data points that have both; latents that are sequences are averaged over their steps. With
    few data points independent latents correlate too, which a note says: from N = D about 0.95, from N = 4 D about 0.4.

    Source: Hotelling 1936; with a ridge of 0.001 times the mean variance on the covariances.
    """
    names = context.alone()
    for one, other in context.each("canonical correlation", list(combinations(names, 2))):
        rows = context.rows((one, other))
        if len(rows) < 2:
            context.note(
                f"canonical_correlation: left out for {one} and {other}, which fewer than two data points have."
            )
            continue
        a, b = (found.pooled[found.places(rows)] for found in map(context.inferred, ((one,), (other,))))
        width = max(a.shape[1], b.shape[1])
        few = f"fewer than {_TRUSTED} data points by latent dimension: independent latents correlate too"
        extras: dict[str, Any] = {"n": len(rows), "note": few if len(rows) < _TRUSTED * width else None}
        mean = float(canonical_correlations(a, b, _RIDGE).mean())
        for given, target in ((one, other), (other, one)):
            yield make_row("canonical_correlation", mean, (given,), target, **extras)
