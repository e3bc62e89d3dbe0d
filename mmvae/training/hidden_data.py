"""How well a model fills in validation data that is hidden for the purpose, as a term that may judge a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from mmvae.abilities import Imputes, lack
from mmvae.batch import Batch
from mmvae.imputing import cells_to_hide, deviations, points, usual_values
from mmvae.seeds import derive_seed
from mmvae.training.feed import Feed
from mmvae.training.randomness import randomness_kept
from mmvae.transforms import columns_of, spread
from mmvae.words import Words, declare_terms

IMPUTATION = "imputation"

_WORDS = Words(
    IMPUTATION,
    "Imputation error",
    "Squared error of hidden data over that of the column's mean in training, averaged over the modalities.",
    unit="1 for the mean",
    better="lower",
)
declare_terms(_WORDS, of_bound=True)
declare_terms(_WORDS)

_LOOKED_AT = 4096
"""Rows of training from which the means of the columns come."""


@dataclass(frozen=True, eq=False)
class _Floor:
    """What is expected of a modality without a model.

    Attributes:
        usual: Mean of each number in the training data, or its most frequent code, ``[*shape]``.
        error: Mean square of the distance of validation data to it, or share of other codes, by column.
        varies: Whether that is above zero, ``[*shape]``.
        is_ordered: Whether values have an order.
    """

    usual: Tensor
    error: Tensor
    varies: Tensor
    is_ordered: Tensor | bool


class HiddenData:
    """Hides validation data, the same at each call, and measures the error with which a model fills it in.

    Of every row that has two modalities or more, one is hidden as a whole; of modalities of which single numbers may be
    missing, a fifth of the other numbers. Errors are relative to those of the means of the training data (of the
    validation data, if training data is drawn anew each time), over all validation rows.

    Args:
        model: The model.
        training: Training data.
        validation: Validation data.
        seed: Of what is hidden.
        asked_by: Argument that asks for it, for errors.

    Raises:
        ValueError: For a model that cannot fill in data, or data of which nothing can be hidden.
    """

    def __init__(
        self, model: Any, training: Feed, validation: Feed, seed: int, asked_by: str = "select: 'imputation'"
    ) -> None:
        if not isinstance(model, Imputes):
            raise ValueError(
                f"{asked_by} needs a model that fills in data, and {type(model).__name__} {lack(Imputes)}. Choose "
                f"otherwise."
            )
        self._model, self._seed = model, seed
        self._with_cells = [each.name for each in model.modalities if each.missing == "cells"]
        self._floors = self._found_floors(training if training.state() is None else validation, validation)
        self._rows, self._counts = 0, dict.fromkeys(self._floors, 0)
        for step, batch in enumerate(validation.in_order()):
            self._rows += batch.size
            for name, counted in self._counted(step, model.prepare(batch)).items():
                self._counts[name] += int(counted.sum())
        if not any(self._counts.values()):
            raise ValueError(
                f"{asked_by} hides data of which something else is known, and no validation row has two modalities, "
                f'or a modality with missing="cells" and two numbers. Choose otherwise.'
            )

    def __call__(self, step: int, batch: Batch) -> Float[Tensor, ""]:
        """The share of a batch in the error, whose mean over all validation rows is 1 where it is that of the means.

        Args:
            step: Number of the batch.
            batch: Validation data.
        """
        shares = self.by_modality(step, batch)
        return torch.stack(list(shares.values())).sum() / len(shares) * self._rows / batch.size

    def by_modality(self, step: int, batch: Batch) -> dict[str, Float64[Tensor, ""]]:
        """The share of a batch in the error of each modality; they add up to the errors, 1 where that of the means.

        Args:
            step: Number of the batch.
            batch: Validation data.
        """
        batch = self._model.prepare(batch)
        hidden = self._hidden(step, batch)
        masks = {name: spread(batch.masks[name], batch.data[name]) & ~where for name, where in hidden.items()}
        rows = {
            name: mask.reshape(batch.size, -1).any(1) for name, mask in masks.items() if name not in self._with_cells
        }
        given = self._model.prepare(Batch(batch.data, {**masks, **rows}, covariates=batch.covariates))
        made, nothing = points(self._model, given), torch.zeros((), dtype=torch.float64, device=batch.device)
        shares = {name: nothing for name, count in self._counts.items() if count}
        for name, counted in self._counted(step, batch).items():
            floor = self._floors[name]
            if name in shares:
                each = deviations(batch.data[name], made[name], floor.is_ordered) / floor.error.to(counted.device)
                shares[name] = torch.where(counted, each, 0.0).sum() / self._counts[name]
        return shares

    def _counted(self, step: int, batch: Batch) -> dict[str, Bool[Tensor, "N *shape"]]:
        """What is hidden of a batch and counts: of columns that vary."""
        hidden = self._hidden(step, batch)
        floors = self._floors
        return {name: where & floors[name].varies.to(where.device) for name, where in hidden.items() if name in floors}

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

    def _found_floors(self, reference: Feed, validation: Feed) -> dict[str, _Floor]:
        """What is expected of each modality that validation data has."""
        with reference.undisturbed(), randomness_kept():
            known = self._model.prepare(_first(reference))
        usual, sums = {}, {}
        for batch in map(self._model.prepare, validation.in_order()):
            for name, data in batch.data.items():
                is_ordered = _on_cpu(self._model.is_ordered(name))
                if name not in usual:
                    source = known if name in known.names else batch
                    values = source.data[name].cpu()
                    usual[name] = usual_values(values, spread(source.masks[name].cpu(), values), is_ordered)
                    sums[name] = torch.zeros(2, *columns_of(tuple(data.shape[1:])), dtype=torch.float64)
                values, present = data.cpu(), spread(batch.masks[name].cpu(), data)
                each = torch.where(present, deviations(values, usual[name].expand_as(values), is_ordered), 0.0)
                columns = sums[name].shape[1:]
                sums[name] += torch.stack([each.sum_to_size(columns), present.double().sum_to_size(columns)])
        floors = {}
        for name, (error, count) in sums.items():
            mean = error / count.clamp(min=1)
            varies = (mean > 0).expand(usual[name].shape)
            is_ordered = _on_cpu(self._model.is_ordered(name))
            floors[name] = _Floor(usual[name], torch.where(mean > 0, mean, 1.0), varies, is_ordered)
        return floors


def _on_cpu(is_ordered: Tensor | bool) -> Tensor | bool:
    return is_ordered if isinstance(is_ordered, bool) else is_ordered.cpu()


def imputation_term(hidden: HiddenData | None, step: int, batch: Batch) -> Mapping[str, Tensor]:
    """The error as a term of a loss, if the run is judged by it."""
    return {} if hidden is None else {IMPUTATION: hidden(step, batch)}


def _first(feed: Feed) -> Batch:
    """Some thousand rows, drawn at random from rows that can be asked for by number."""
    parts, rows = [], 0
    for batch in feed.shuffled(0):
        parts.append(batch)
        rows += batch.size
        if rows >= _LOOKED_AT:
            break
    return parts[0] if len(parts) == 1 else Batch.cat(parts)
