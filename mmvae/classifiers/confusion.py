"""Which classes a classifier takes for which, given each subset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from mmvae.abilities import Evaluated, Predicts
from mmvae.batch import Batch
from mmvae.evaluation.context import no_classes
from mmvae.inference import infer
from mmvae.labels import known_labels
from mmvae.plotting.figures.heat_map import heat_map
from mmvae.plotting.figures.inputs import chosen_subsets, require, spread, whole_rows
from mmvae.plotting.figures.style import new_figure, panels, style
from mmvae.sources import Data
from mmvae.subsets import Subset, label

Predictions = dict[tuple[str, ...], tuple[Tensor, Tensor]]
"""By subset, logits ``[n, C]`` and labels ``[n, ...]`` of the data points that have all of it."""

_MOST_NUMBERED = 12
"""Classes up to which the cells hold numbers."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often data of each class is taken for each class.

    Attributes:
        subsets: S of them.
        counts: by subset, true class and predicted class, ``[S, C, C]``.
        classes: their names.
    """

    subsets: list[tuple[str, ...]]
    counts: Int[np.ndarray, "S C C"]
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: Evaluated,
        data: Data,
        subsets: Iterable[Subset] | None = None,
        *,
        classes: Sequence[str] | None = None,
        size: int = 2000,
    ) -> ConfusionMatrix:
        """What a classifier predicts, given each subset, of the data points that have all of it.

        Args:
            model: a classifier of one class per datum.
            data: with labels, of which ``size`` points, evenly spread, are used.
            subsets: by default all, or beyond seven the single modalities and the whole; those that no data point has
                are left out.
            classes: their names; by default numbers.
            size: how many data points.

        Raises:
            TypeError: for a model that does not classify.
            ValueError: for data without one class per datum.
        """
        return cls.of_predictions(predictions(model, spread(data, size), subsets), classes)

    @classmethod
    def of_predictions(cls, found: Predictions, classes: Sequence[str] | None = None) -> ConfusionMatrix:
        """Of what was predicted already.

        Args:
            found: as :func:`predictions` gives it.
            classes: their names; by default numbers.

        Raises:
            ValueError: for labels that are not one class per datum.
        """
        counts = []
        for logits, labels in found.values():
            if logits.shape[1] == 1:  # of class 1 against class 0
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            width = logits.shape[1]
            if labels.ndim != 1:
                raise ValueError(
                    f"labels: a confusion matrix needs one class for each data point, got shape {tuple(labels.shape)}."
                )
            if not 0 <= int(labels.min()) <= int(labels.max()) < width:
                raise ValueError(
                    f"labels: the model tells classes 0 to {width - 1} apart, but the data has {int(labels.min())} to "
                    f"{int(labels.max())}; number the classes as in training."
                )
            cells = labels.long() * width + logits.argmax(1)
            counts.append(torch.bincount(cells, minlength=width**2).reshape(width, width))
        stacked = torch.stack(counts).numpy()
        names = range(stacked.shape[1]) if classes is None else classes
        return cls(list(found), stacked, tuple(map(str, names)))

    @property
    def shares(self) -> Float[np.ndarray, "S C C"]:
        """The counts as shares of the data of each true class, NaN for a class without data."""
        totals = self.counts.sum(-1, keepdims=True)
        return np.where(totals > 0, self.counts / totals.clip(1), np.nan)

    @property
    def accuracy(self) -> Float[np.ndarray, "S"]:
        """The share of the data that is predicted rightly."""
        return np.trace(self.counts, axis1=1, axis2=2) / self.counts.sum((1, 2))


def predictions(model: Evaluated, batch: Batch, subsets: Iterable[Subset] | None = None) -> Predictions:
    """By subset, logits ``[n, C]`` and labels ``[n, ...]`` of the labelled rows that have all of it, on the CPU.

    Args:
        model: a classifier.
        batch: with labels.
        subsets: by default all, or beyond seven the single modalities and the whole.

    Raises:
        TypeError: for a model that does not classify.
        ValueError: for a batch without labels.
    """
    able = require(model, Predicts, "does not classify; this plot needs a model with predict()")
    given = known_labels(batch.labels)
    if given is None:
        raise ValueError(f"labels: the data {no_classes(batch.labels)}; pass a Batch or a dataset that has them.")
    labels, known = given
    found: Predictions = {}
    for subset in chosen_subsets(model, batch, subsets):
        rows = whole_rows(batch, subset).cpu()
        rows = rows[known[rows]]
        if len(rows):
            latents = infer(model, batch[rows.to(batch.device)], subset, progress=False)
            with torch.no_grad():
                found[subset] = able.predict(latents).float().cpu(), labels[rows]
    return found


def confusion_matrix(arrays: ConfusionMatrix) -> Figure:
    """True classes as rows, predicted classes as columns, in per cent of the row; a panel for each subset.

    Args:
        arrays: from :meth:`ConfusionMatrix.of`.
    """
    count, width = len(arrays.subsets), len(arrays.classes)
    columns = min(count, 3)
    lines = math.ceil(count / columns)
    side = 7.2 / max(columns, 2)
    figure = new_figure(side * columns, (side + 0.1) * lines + 0.3)
    numbered = width <= _MOST_NUMBERED
    with style():
        for place, ax in enumerate(panels(figure, count, columns)):
            heat_map(
                ax,
                100 * arrays.shares[place],
                arrays.classes,
                arrays.classes,
                (0, 100),
                written=lambda value: f"{value:.0f}" if numbered and value > 0.5 else "",
                fontsize=min(8.0, 22 * side / width),
            )
            if not numbered:
                every = -(-width // 10)
                ax.set_xticks(range(0, width, every), arrays.classes[::every])
                ax.set_yticks(range(0, width, every), arrays.classes[::every])
            ax.set_title(f"{label(arrays.subsets[place])}: {arrays.accuracy[place]:.1%} right")
        figure.supxlabel("predicted class", fontsize=9)
        figure.supylabel("class", fontsize=9)
    return figure
