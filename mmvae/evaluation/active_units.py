"""How many latent dimensions the posterior uses."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from mmvae.evaluation.context import Context
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, make_row
from mmvae.subsets import label
from mmvae.words import Words

_THRESHOLD = 0.01


@metric(
    Words(
        "active_units", "Active units", "Latent dimensions whose posterior mean varies over the data by more than 0.01."
    ),
    about="latent",
)
def active_units(context: Context) -> Iterator[Row]:
    """Latent dimensions whose posterior mean varies over the data by more than 0.01, per subset.

    Of latents that are sequences, each step has dimensions of its own.

    Source: Burda et al. 2016, "Importance weighted autoencoders", section 5.2.
    """
    for subset in context.each_subset("active units"):
        means = context.inferred(subset).flat
        if len(means) < 2:
            context.note(f"active_units: left out for {label(subset)}, which a single data point has.")
            continue
        yield make_row("active_units", count_active(means), subset, n=len(means), latent_dim=means.shape[1])


def count_active(means: Float[Tensor, "N D"]) -> int:
    """How many of the D dimensions have a variance over the N means above 0.01."""
    return int((means.double().var(0) > _THRESHOLD).sum())
