"""Data that is looked at once, so that no step waits for the device to hear that it is sound."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from mmvae.abilities import ChecksLabels, Trains
from mmvae.batch import Batch, is_zero
from mmvae.sources import Source, is_uniform

_ROWS_AT_A_TIME = 4096


def sound(batch: Batch, model: Trains) -> Batch:
    """A batch in the form of a model, its labels looked at too.

    Raises:
        ValueError: for data or labels that do not fit the model.
        TypeError: for data or labels of the wrong kind.
    """
    if isinstance(model, ChecksLabels):
        model.check_labels(batch.labels)
    return model.prepare(batch)


class CheckedOnce:
    """A source that gives the same at every reading, checked and then trusted; its batches conform to a model.

    Args:
        source: of N data points, on the device of the model.
        model: that is trained on them.

    Raises:
        ValueError: for data that does not fit the model.
        TypeError: for data of the wrong kind.
    """

    def __init__(self, source: Source, model: Any) -> None:
        self._source, self._model = source, model
        self.is_uniform = is_uniform(source)
        self._types: dict[str, torch.dtype] = {}
        # Modalities whose holes are filled with a value of their own.
        self._filled = {name for name, form in model.forms.items() if not is_zero(form.hole)}
        for rows in torch.arange(len(source)).split(_ROWS_AT_A_TIME):
            batch = sound(source.batch(rows), model)
            self._types |= {name: value.dtype for name, value in batch.data.items()}

    def __len__(self) -> int:
        return len(self._source)

    def batch(self, rows: Int64[Tensor, "B"]) -> Batch:
        """The data points at these rows, in the order and types of the model."""
        batch = self._source.batch(rows)
        if not (batch.complete and not batch.cells) and self._filled.intersection(batch.names):
            return self._model.prepare(batch)
        names = [name for name in self._model.shapes if name in batch.data]
        return self._model.encode_covariates(
            batch.derive(
                {name: batch.data[name].to(self._types[name]) for name in names},
                None if batch.complete else {name: batch.observed[name] for name in names},
                cells={name: batch.cells[name] for name in names if name in batch.cells},
                conforms_to=self._model.forms,
            )
        )
