"""The commitment loss: encoders keep their vectors near the codes that they chose."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.nn.processes import mean_over

FORMS = {"reference": 2.0, "paper": 1.0}
"""The weight of a modality's own code in units of β; those of the other modalities weigh half as much together."""


def commitment_loss(
    features: Mapping[str, Float[Tensor, "N *T D"]],
    chosen: Mapping[str, Float[Tensor, "N *T D"]],
    valid: Mapping[str, Bool[Tensor, "N *T"]],
    *,
    weight: float,
    cross: bool,
) -> Float[Tensor, ""]:
    """The squared distance of each vector to its own code and, at half weight, to those of the other modalities there.

    Means over the elements of all valid vectors of a modality, summed over the modalities. At each step, the modalities
    that are there share the half; a vector without any has its own term alone.

    Args:
        features: the vectors of each modality.
        chosen: the codes that they chose, of which no gradient is taken.
        valid: where there is a vector.
        weight: of the own term.
        cross: with the other modalities' codes.
    """
    terms = []
    for name, own in features.items():
        penalty = _distance(own, chosen[name])
        others = [other for other in features if other != name] if cross else []
        if others:
            present = torch.stack([valid[other] for other in others])  # [M - 1, N, *T]
            apart = torch.stack([_distance(own, chosen[other]) for other in others])
            penalty = penalty + 0.5 * (apart * present).sum(0) / present.sum(0).clamp_min(1)
        terms.append(mean_over(penalty, valid[name]))
    return weight * torch.stack(terms).sum()


def _distance(vectors: Tensor, codes: Tensor) -> Tensor:
    """The squared distance per element, ``[N, *T]``."""
    return (vectors - codes.detach()).square().mean(-1)
