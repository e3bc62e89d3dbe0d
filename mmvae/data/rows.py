"""What a modality of a dataset reads from: stored rows, or a sampler that draws a datum from its label."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from mmvae.batch import Batch
from mmvae.casting import as_models_read
from mmvae.sparse import as_csr, dense_rows


@runtime_checkable
class Rows(Protocol):
    """Base data of n rows, each kept once; a dataset refers to them by number, as often as it likes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""

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


class SparseRows:
    """Rows of a sparse matrix ``[n, P]``, dense only once they are read.

    Args:
        name: Name of the modality, for errors.
        matrix: Sparse matrix of SciPy or sparse tensor of PyTorch.

    Raises:
        ValueError: For values that are not finite: a sparse matrix has no row that is NaN throughout.
    """

    def __init__(self, name: str, matrix: Any) -> None:
        self.name = name
        self._matrix = as_csr(name, matrix)
        self._device = torch.device("cpu")
        if not np.isfinite(self._matrix.data).all():
            raise ValueError(f"{name}: the sparse matrix holds values that are not finite; replace or remove them.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return (self._matrix.shape[1],)

    def __len__(self) -> int:
        return self._matrix.shape[0]

    def take(self, rows: Int64[Tensor, "B"]) -> Shaped[Tensor, "B P"]:
        """The data of these rows, dense."""
        return dense_rows(self.name, self._matrix, rows).to(self._device)

    def to(self, device: torch.device) -> SparseRows:
        """The same rows, handed out on another device; the matrix stays on the CPU."""
        moved = SparseRows(self.name, self._matrix)
        moved._device = device
        return moved


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
        """Of one row."""
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
