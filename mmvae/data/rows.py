"""What a modality of a dataset reads from: stored rows, or a sampler that draws a datum from its label."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from mmvae.batch import Batch
from mmvae.casting import as_models_read


@runtime_checkable
class Rows(Protocol):
    """Base data of n rows, each kept once; a dataset refers to them by number, as often as it likes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one datum."""

    def __len__(self) -> int: ...

    def take(self, rows: Int64[Tensor, "B"]) -> Shaped[Tensor, "B ..."]:
        """The data of these rows, in the form that models see: images as float32 in [0, 1]."""

    def to(self, device: torch.device) -> Rows:
        """The same rows on another device."""


@runtime_checkable
class Sampler(Protocol):
    """Draws a datum anew at each access, given its label; ``name`` is how tables call it."""

    name: str

    def draw(self, labels: Int64[Tensor, "B"], generator: torch.Generator) -> Shaped[Tensor, "B ..."]:
        """One datum for each label, on the device of ``labels``, from this generator (on the CPU) alone."""


class Stored:
    """Rows that are a tensor: bytes of images become float32 in [0, 1], anything else is handed out as it is.

    Args:
        name: of the modality, for errors.
        values: tensor or array ``[n, ...]``. What is NaN is missing.

    Attributes:
        present: bool ``[n]``, false where a row is NaN throughout; ``None`` if every row is there.
        cells: what there is of each row, as of :attr:`mmvae.Batch.cells`; ``None`` if no row is there in part.

    Raises:
        ValueError: for values that are infinite.
    """

    def __init__(self, name: str, values: Any) -> None:
        checked = Batch({name: values})
        self.values: Tensor = checked.data[name]
        self.present: Tensor | None = None if checked.complete else checked.observed[name]
        self.cells: Tensor | None = checked.cells.get(name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one datum."""
        return tuple(self.values.shape[1:])

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Int64[Tensor, "B"]) -> Shaped[Tensor, "B ..."]:
        """The data of these rows."""
        return as_models_read(self.values.index_select(0, rows))

    def to(self, device: torch.device) -> Stored:
        """The same rows on another device."""
        moved = Stored.__new__(Stored)
        moved.values = self.values.to(device)
        moved.present = None if self.present is None else self.present.to(device)
        moved.cells = None if self.cells is None else self.cells.to(device)
        return moved
