"""Intervals around what an autoencoder generates, and their calibration on held-out data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.abilities import Imputes
from mmvae.batch import Batch
from mmvae.intervals import conformal_margin, quantiles, rows_at_a_time
from mmvae.latents import Latents
from mmvae.sources import Data, as_source, consecutive
from mmvae.transforms import spread

Ends = dict[str, tuple[Tensor, Tensor]]
"""Lower and upper ends by modality, each ``[N, *shape]``."""


class Decodes(Imputes, Protocol):
    """A model that says how data is distributed at latents."""

    def decode(
        self, z: Tensor, subset: Any = None, covariates: Mapping[str, Any] | None = None
    ) -> dict[str, Distribution]:
        """p(x_m | z) of every modality."""


def central_intervals(
    model: Decodes, latents: Latents, covariates: Mapping[str, Tensor], draws: int, interval: float
) -> Ends:
    """Intervals that hold a share of the predictive distribution of each number, noise of the data included.

    Args:
        model: In evaluation mode.
        latents: Latents of N rows, without gaps.
        covariates: ``{name: [N]}``.
        draws: Number of latents and data behind each end.
        interval: The share.
    """
    z = latents.sample(draws)
    size = max(each.size for each in model.modalities)
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in model.names}
    for rows in torch.arange(len(latents)).split(rows_at_a_time(size, draws)):
        some = {name: value[rows.to(value.device)] for name, value in covariates.items()}
        for name, distribution in model.decode(z[:, rows.to(z.device)], covariates=some or None).items():
            point = model.agreed(name, distribution)
            parts[name].append(quantiles(distribution, point, model.is_ordered(name), interval))
    return {name: (torch.cat([low for low, _ in each]), torch.cat([high for _, high in each]))
            for name, each in parts.items()}  # fmt: skip


def conformal_margins(
    model: Decodes, calibration: Data, subset: tuple[str, ...], draws: int, interval: float
) -> dict[str, Float[Tensor, "*shape"]]:
    """By how much the ends of intervals must move, found on rows that have every modality of a subset.

    Args:
        model: In evaluation mode.
        calibration: Held-out data of every modality of the model.
        subset: Modalities that the latents were inferred from.
        draws: As of :func:`central_intervals`.
        interval: The share that intervals are to hold of new data.

    Raises:
        ValueError: For data that lacks a modality, or has too few rows.
    """
    source, parts = as_source(calibration), []
    block = rows_at_a_time(max(each.size for each in model.modalities), draws)
    for start in range(0, len(source), block):
        batch = _complete(model, consecutive(source, start, min(start + block, len(source))), subset)
        if batch is not None:
            ends = central_intervals(model, model.infer(batch, subset), batch.covariates, draws, interval)
            parts.append({name: _beside(batch, name, pair) for name, pair in ends.items()})
    if not parts:
        raise ValueError(f"conformal: no row of the calibration data has all of {', '.join(map(repr, subset))}.")
    margins = {}
    for name in model.names:
        ordered = model.is_ordered(name)
        if ordered is False:
            continue
        data, lower, upper, present = (torch.cat(each) for each in zip(*(part[name] for part in parts), strict=True))
        margin = conformal_margin(name, data, lower, upper, present, interval)
        margins[name] = torch.where(ordered, margin, 0.0) if isinstance(ordered, Tensor) else margin
    return margins


def _beside(batch: Batch, name: str, ends: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Data of a modality, both ends of its intervals, and where the data is there."""
    lower, upper = ends
    return batch.data[name].to(lower.dtype), lower, upper, spread(batch.masks[name], batch.data[name])


def _complete(model: Decodes, rows: Batch, subset: tuple[str, ...]) -> Batch | None:
    """The rows that have every modality of the subset, as a batch that conforms; nothing, if there are none."""
    batch = model.prepare(rows)
    lacking = [name for name in model.names if name not in batch.data]
    if lacking:
        raise ValueError(
            f"conformal: the calibration data lacks {', '.join(map(repr, lacking))}. Pass held-out rows of every "
            f"modality of the model."
        )
    has_all = torch.stack([batch.observed[name] for name in subset]).all(0)
    if bool(has_all.all()):
        return batch
    return batch[has_all.nonzero().flatten()] if bool(has_all.any()) else None
