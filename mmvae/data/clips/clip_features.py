"""Clips with features of their steps: what the readers of audio-visual data sets return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mmvae.batch import Batch


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """N clips of up to T steps, as features that networks gave for each step.

    Attributes:
        name: how tables and reports call the data set.
        batch: features ``[N, T, width]`` by modality, float32, with masks of the steps that are there where some are
            not; its labels are int64, ``[N]`` with one class each, or ``[N, C]`` of 0 and 1 with any number each.
        step_labels: by modality, bool ``[N, T, C]``: which classes are seen, or heard, at each step. Without an entry
            where it is not known.
        classes: the names of the C classes.
        clips: the names of the clips.
        notes: what a report must say about the data, a line each.

    Raises:
        ValueError: for unequal numbers.
    """

    name: str
    batch: Batch
    step_labels: Mapping[str, Bool[Tensor, "N T C"]]
    classes: tuple[str, ...]
    clips: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sizes = {"batch": len(self.batch), "clips": len(self.clips)}
        sizes |= {f"step labels of {name}": len(each) for name, each in self.step_labels.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"{self.name}: expected as many of each, got {sizes}.")

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def task(self) -> Literal["single-label", "multi-label"]:
        """One class each, or any number of labels."""
        return "single-label" if self.labels.ndim == 1 else "multi-label"

    @property
    def labels(self) -> Int64[Tensor, "N *C"]:
        """Of the clips."""
        assert self.batch.labels is not None  # readers give them
        return self.batch.labels

    @property
    def widths(self) -> dict[str, int]:
        """Of the features, by modality: what codebook models are built with."""
        return {name: values.shape[-1] for name, values in self.batch.data.items()}

    def subset(self, rows: Int64[Tensor, "n"]) -> ClipFeatures:
        """The chosen clips, in the order of ``rows``."""
        return replace(
            self,
            batch=self.batch[rows],
            step_labels={name: each[rows] for name, each in self.step_labels.items()},
            clips=tuple(self.clips[row] for row in rows.tolist()),
        )


def side_by_side(sequences: Sequence[Float[Tensor, "_ width"]], steps: int) -> tuple[Tensor, Bool[Tensor, "N T"]]:
    """Sequences of one width and up to so many steps as one tensor, zeros behind the shorter ones; and what is there.

    Returns:
        float32 ``[N, T, width]``, and the mask.
    """
    values = torch.zeros(len(sequences), steps, sequences[0].shape[1])
    there = torch.zeros(len(sequences), steps, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        values[row, : len(sequence)] = sequence
        there[row, : len(sequence)] = True
    return values, there


def batch_of(sequences: Mapping[str, tuple[Tensor, Tensor]], labels: Tensor) -> Batch:
    """Modalities with the masks of their steps as a batch; masks that hide nothing are left out."""
    data = {name: values for name, (values, _) in sequences.items()}
    return Batch(data, {name: there for name, (_, there) in sequences.items() if not bool(there.all())}, labels)
