"""Labelled images: what every reader returns, and where readers look."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from mmvae.seeds import stream

DATA_VARIABLE = "MMVAE_DATA"
"""The environment variable that names the folder of data sets."""


class SourceNotFound(FileNotFoundError):
    """The files of a data set are not where they were looked for; the message says what was sought, and where."""


def data_root(path: Path | str | None = None) -> Path | None:
    """The folder of data sets: ``path`` if given, else the environment variable ``MMVAE_DATA``, else ``None``."""
    chosen = path if path is not None else os.environ.get(DATA_VARIABLE) or None
    return None if chosen is None else Path(chosen).expanduser()


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """N images of one kind, with their classes.

    Attributes:
        images: ``[N, C, H, W]``, uint8 in 0..255, or float32 in [0, 1] where the source is finer than 256 grey levels.
        labels: int64 ``[N]``, the class of each image.
        name: how tables, plots and reports call the source: ``"MNIST"``, ``"rendered street digits"``.
        groups: int64 ``[N]``; images of one group overlap (digits of one house number) and are never split. ``None``
            if all are independent.

    Raises:
        ValueError: if images, labels and groups differ in number, or the images are not four-dimensional.
        TypeError: for images that are neither uint8 nor float32, or labels that are not int64.
    """

    images: Tensor
    labels: Tensor
    name: str
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4:
            raise ValueError(f"{self.name}: expected images [N, C, H, W], got {tuple(self.images.shape)}.")
        if self.images.dtype not in (torch.uint8, torch.float32):
            raise TypeError(f"{self.name}: images are uint8 in 0..255 or float32 in [0, 1], got {self.images.dtype}.")
        if self.labels.dtype != torch.int64:
            raise TypeError(f"{self.name}: labels are int64, got {self.labels.dtype}; try labels.long().")
        for what, rows in (("labels", self.labels), ("groups", self.groups)):
            if rows is not None and rows.shape != (len(self.images),):
                raise ValueError(
                    f"{self.name}: {len(self.images)} images need as many {what}, got shape {tuple(rows.shape)}."
                )

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, rows: Int64[Tensor, "n"] | Sequence[int]) -> LabelledImages:
        """The chosen images, in the order of ``rows``."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        groups = None if self.groups is None else self.groups[index]
        return replace(self, images=self.images[index], labels=self.labels[index], groups=groups)

    def share(self, start: float, stop: float, seed: int = 0) -> LabelledImages:
        """The part of the images between two fractions of a shuffled deck, in their stored order.

        With one ``seed``, ``share(0, 0.9)`` and ``share(0.9, 1)`` are disjoint and together everything. Each class is
        shuffled and cut by itself, so that the classes keep their proportions; where there are groups, whole groups
        are.

        Raises:
            ValueError: unless 0 <= start < stop <= 1, and if nothing is left between the two.
        """
        if not 0 <= start < stop <= 1:
            raise ValueError(f"{self.name}: a share lies between 0 <= start < stop <= 1, got {start} and {stop}.")
        if (start, stop) == (0, 1):
            return self
        units, deck = (self.labels, "classes") if self.groups is None else (self.groups, "groups")
        generator = stream(seed, "share", deck)
        if self.groups is None:
            chosen = [_cut((units == label).nonzero().flatten(), start, stop, generator) for label in units.unique()]
            rows = torch.cat(chosen)
        else:
            rows = torch.isin(units, _cut(units.unique(), start, stop, generator)).nonzero().flatten()
        if not len(rows):
            raise ValueError(f"{self.name}: no image lies between the fractions {start} and {stop} of {len(self)}.")
        return self.subset(rows.sort().values)


def _cut(deck: Tensor, start: float, stop: float, generator: torch.Generator) -> Tensor:
    shuffled = deck[torch.randperm(len(deck), generator=generator)]
    return shuffled[round(start * len(deck)) : round(stop * len(deck))]
