"""How well a model fills in validation data that is hidden for the purpose, as a term that may judge a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.abilities import Imputes, lack
from mmvae.batch import Batch
from mmvae.imputing import cells_to_hide, deviations, points, usual_values
from mmvae.seeds import derive_seed
from mmvae.training.feed import Feed
from mmvae.transforms import columns_of, spread
from mmvae.words import Words, declare_terms

IMPUTATION = "imputation"

_WORDS = Words(
    IMPUTATION,
    "Imputation error",
    "Squared error of hidden data over that of the column's mean, averaged over the modalities.",
    unit="1 for the mean",
    better="lower",
)
declare_terms(_WORDS, of_bound=True)
declare_terms(_WORDS)

_LOOKED_AT = 4096
"""Rows of validation from which means and floors of the columns come."""


@dataclass(frozen=True, eq=False)
class _Floor:
    """What is expected of a modality without a model.

    Attributes:
        error: Mean square of the distance to the mean, or share of codes that are not the most frequent, by column.
        varies: Whether that is above zero, by column.
        is_ordered: Whether values have an order.
    """

    error: Tensor
    varies: Tensor
    is_ordered: Tensor | bool


class HiddenData:
    """Hides validation data, the same at each call, and measures the error with which a model fills it in.

    Of every row that has two modalities or more, one is hidden as a whole; of modalities of which single numbers may be
    missing, a fifth of the other numbers.

    Args:
        model: The model.
        feed: Validation data.
        seed: Of what is hidden.

    Raises:
        ValueError: For a model that cannot fill in data, or data of which nothing can be hidden.
    """

    def __init__(self, model: Any, feed: Feed, seed: int) -> None:
        if not isinstance(model, Imputes):
            raise ValueError(
                f"select: 'imputation' needs a model that fills in data, and {type(model).__name__} {lack(Imputes)}. "
                f"Choose another term."
            )
        self._model, self._seed = model, seed
        self._with_cells = [each.name for each in model.modalities if each.missing == "cells"]
        looked_at = _first(feed)
        self._floors = {name: self._floor(looked_at, name) for name in looked_at.names}
        if self(0, looked_at) is None:
            raise ValueError(
                "select: 'imputation' hides data of which something else is known, and no validation row has two "
                'modalities, or a modality with missing="cells" and two numbers. Choose another term.'
            )

    def __call__(self, step: int, batch: Batch) -> Float[Tensor, ""] | None:
        """The error of a batch, 1 where it is that of the mean; ``None`` if nothing of it can be hidden.

        Args:
            step: Number of the batch.
            batch: Data that conforms to the model.
        """
        hidden = self._hidden(step, batch)
        masks = {name: spread(batch.masks[name], batch.data[name]) & ~where for name, where in hidden.items()}
        rows = {
            name: mask.reshape(batch.size, -1).any(1) for name, mask in masks.items() if name not in self._with_cells
        }
        given = self._model.prepare(Batch(batch.data, {**masks, **rows}, covariates=batch.covariates))
        made, errors = points(self._model, given), []
        for name, where in hidden.items():
            floor = self._floors[name]
            counted = where & floor.varies.to(where.device)
            if bool(counted.any()):
                each = deviations(batch.data[name], made[name], floor.is_ordered) / floor.error.to(where.device)
                errors.append(each[counted].mean())
        return torch.stack(errors).mean() if errors else None

    def _hidden(self, step: int, batch: Batch) -> dict[str, Bool[Tensor, "N *shape"]]:
        """What is hidden of each modality of a batch."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "hidden data", str(step)))
        observed = torch.stack([batch.observed[name].cpu() for name in batch.names], 1)
        order = torch.rand(observed.shape, generator=generator).masked_fill(~observed, -1.0)
        dropped = torch.zeros_like(observed).scatter(1, order.argmax(1, keepdim=True), True)
        dropped &= (observed.sum(1, keepdim=True) > 1) & observed
        hidden = {}
        for place, name in enumerate(batch.names):
            rows = dropped[:, place].to(batch.device)
            hidden[name] = spread(rows, batch.data[name]) & spread(batch.masks[name], batch.data[name])
        masks = {name: spread(batch.masks[name], batch.data[name]) & ~where for name, where in hidden.items()}
        rest = Batch.trusted(batch.data, batch.observed, cells=masks)
        cells = cells_to_hide(
            rest, [name for name in self._with_cells if name in batch.data], generator, among=batch.names
        )
        return {name: where | cells[name] if name in cells else where for name, where in hidden.items()}

    def _floor(self, batch: Batch, name: str) -> _Floor:
        data, is_ordered = batch.data[name].cpu(), self._model.is_ordered(name)
        is_ordered = is_ordered if isinstance(is_ordered, bool) else is_ordered.cpu()
        present, columns = spread(batch.masks[name].cpu(), data), columns_of(tuple(data.shape[1:]))
        usual = usual_values(data, present, is_ordered)
        each = torch.where(present, deviations(data, usual.expand_as(data), is_ordered), 0.0)
        count = present.double().sum_to_size(columns).clamp(min=1)
        error = each.sum_to_size(columns) / count
        varies = (error > 0).expand_as(data[0])
        return _Floor(torch.where(error > 0, error, 1.0), varies, is_ordered)


def imputation_term(hidden: HiddenData | None, step: int, batch: Batch) -> Mapping[str, Tensor]:
    """The error as a term of a loss, if the run is judged by it and something of the batch can be hidden."""
    error = None if hidden is None else hidden(step, batch)
    return {} if error is None else {IMPUTATION: error}


def _first(feed: Feed) -> Batch:
    parts, rows = [], 0
    for batch in feed.in_order():
        parts.append(batch)
        rows += batch.size
        if rows >= _LOOKED_AT:
            break
    return parts[0] if len(parts) == 1 else Batch.cat(parts)
