"""What FCID makes of a modality, at both of its levels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.models.vectors import Pair


@dataclass(frozen=True, eq=False)
class CoarseView:
    """The vectors of a modality: of each step, and of all of them pooled.

    Attributes:
        steps: general vectors of the steps.
        own: specific vectors of the steps of a fine modality, where the model has them.
        valid: which steps are there; ``None`` for all of them.
        pooled: what the coarse encoders read.
        general: of each row.
        specific: of each row, where the model has them.
        rows: which rows are there; ``None`` for all of them.
    """

    steps: Float[Tensor, "N T D"]
    own: Float[Tensor, "N T D"] | None
    valid: Bool[Tensor, "N T"] | None
    pooled: Float[Tensor, "N D"]
    general: Float[Tensor, "N D"]
    specific: Float[Tensor, "N D"] | None
    rows: Bool[Tensor, "N"] | None


def club_pairs(views: Mapping[str, CoarseView], fine: Collection[str]) -> dict[str, Pair]:
    """What is to be kept apart, by CLUB network: in each fine modality, in each coarse one, in all fine ones pooled.

    Args:
        views: of the modalities in a batch, all with specific vectors.
        fine: the fine ones of the model.
    """
    pairs: dict[str, Pair] = {}
    for name, view in views.items():
        if name in fine:
            pairs[f"fine_{name}"] = view.steps, cast("Tensor", view.own), view.valid
        else:
            pairs[f"coarse_{name}"] = view.general, cast("Tensor", view.specific), view.rows
    pooled = [view for name, view in views.items() if name in fine]
    if pooled:
        rows = [view.rows for view in pooled if view.rows is not None]
        general = torch.cat([view.general for view in pooled])
        specific = torch.cat([cast("Tensor", view.specific) for view in pooled])
        pairs["coarse"] = general, specific, torch.cat(rows) if rows else None
    return pairs
