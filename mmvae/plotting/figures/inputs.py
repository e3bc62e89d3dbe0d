"""What the computing halves of the plots share: rows of the data, subsets, posteriors with gaps, seeded draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch.distributions import Distribution, Independent

from mmvae.abilities import Evaluated, HasPrior
from mmvae.batch import Batch
from mmvae.evaluation.context import device_of, is_point_mass, mean_over_steps, steps_there
from mmvae.inference import infer
from mmvae.labels import class_numbers
from mmvae.modes import mode
from mmvae.seeds import seeded
from mmvae.sources import Data, as_source
from mmvae.subsets import Subset, canonical, powerset

_MOST_SUBSETS = 7
_Ability = TypeVar("_Ability")


def require(model: object, ability: type[_Ability], lack: str) -> _Ability:
    """The model, which has the ability; otherwise a ``TypeError`` says what it lacks."""
    if not isinstance(model, ability):
        raise TypeError(f"{type(model).__name__} {lack}.")
    return model


def spread(data: Data, size: int) -> Batch:
    """At most ``size`` data points, evenly spread over the data."""
    source = as_source(data)
    count = min(size, len(source))
    return source.batch(torch.linspace(0, len(source) - 1, count).round().long())


def chosen_subsets(model: Evaluated, batch: Batch, subsets: Iterable[Subset] | None) -> list[tuple[str, ...]]:
    """The subsets asked for in the model's order; by default all, or beyond seven the single ones and the whole."""
    names = [name for name in model.names if name in batch.names]
    if subsets is not None:
        return [canonical(subset, names) for subset in subsets]
    every = powerset(names)
    return every if len(every) <= _MOST_SUBSETS else [*((name,) for name in names), tuple(names)]


def shown_labels(batch: Batch) -> np.ndarray | None:
    """One label per data point, or ``None`` where there is not one.

    Classes are whole numbers, -1 where unknown, or names, empty where unknown; other labels are real numbers.
    """
    numbers = class_numbers(batch.labels)
    if numbers is not None:
        return numbers.numpy() if batch.classes is None else np.array([*batch.classes, ""])[numbers.numpy()]
    labels = batch.labels
    if labels is None or labels.ndim != 1 or not labels.is_floating_point() or bool(labels.isnan().all()):
        return None
    return labels.detach().cpu().numpy()


def known_classes(labels: np.ndarray) -> list[Any]:
    """The classes among labels as :func:`shown_labels` gives them, in order; none where they are no classes."""
    if labels.dtype.kind not in "iubU":
        return []
    return [value for value in np.unique(labels).tolist() if value != "" and (isinstance(value, str) or value >= 0)]


def distinct_rows(labels: np.ndarray | None, size: int, count: int) -> Int[np.ndarray, "P"]:
    """At most ``count`` of ``size`` rows: of as many different classes as there are, else spread."""
    classes = [] if labels is None else known_classes(labels)
    if labels is None or not classes:
        return np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int))
    by_class = [np.flatnonzero(labels == value) for value in classes]
    turns = range(max(len(rows) for rows in by_class))
    return np.array([rows[turn] for turn in turns for rows in by_class if turn < len(rows)][:count])


@dataclass(frozen=True)
class Moments:
    """Posterior means and standard deviations; rows that have no member of the subset are NaN.

    Attributes:
        mean: ``[N, D]``.
        scale: ``[N, D]``.
        rows: which rows could be inferred.
        gaussian: whether the posteriors are Gaussian, so that the moments say all.
    """

    mean: Float[np.ndarray, "N D"]
    scale: Float[np.ndarray, "N D"]
    rows: Bool[np.ndarray, "N"]
    gaussian: bool


def inferable(batch: Batch, subset: Sequence[str]) -> Bool[torch.Tensor, "N"]:
    """The rows that have at least one member of the subset."""
    return torch.stack([batch.observed[name] for name in subset]).any(0)


def whole_rows(batch: Batch, names: Sequence[str]) -> Int[torch.Tensor, "n"]:
    """The rows that have all of these modalities."""
    if not set(names) <= set(batch.names):
        return torch.zeros(0, dtype=torch.long)
    return torch.stack([batch.observed[name] for name in names]).all(0).nonzero().flatten()


def complete_rows(model: Evaluated, batch: Batch) -> Batch:
    """The rows that have every modality of the data.

    Raises:
        ValueError: if there is none.
    """
    names = [name for name in model.names if name in batch.names]
    rows = whole_rows(batch, names)
    if not len(rows):
        raise ValueError(f"data: none of the {batch.size} rows looked at has all of {', '.join(names)}.")
    return batch[rows]


def moments(model: Evaluated, batch: Batch, subset: tuple[str, ...]) -> Moments:
    """The first two moments of q(z | x_S) for every row that has a member of the subset.

    Of latents that are sequences, those of the mean over the steps that are there, which are independent given x_S.

    Raises:
        ValueError: if no row has one.
    """
    rows = inferable(batch, subset)
    if not bool(rows.any()):
        raise ValueError(f"subset {'+'.join(subset)}: no row of the data has a member of it; leave the subset out.")
    latents = infer(model, batch if bool(rows.all()) else batch[rows.nonzero().flatten()], subset, progress=False)
    kept = rows.cpu().numpy()
    steps = steps_there(latents.mean, latents.codes)

    def fill(values: torch.Tensor) -> np.ndarray:
        full = np.full((batch.size, values.shape[-1]), np.nan)
        full[kept] = values.detach().cpu().numpy()
        return full

    mean, variance = (mean_over_steps(each, steps) for each in (latents.mean, latents.distribution.variance))
    scale = (variance / steps.reshape(len(steps), -1).sum(1, keepdim=True).clamp(min=1)).sqrt()
    return Moments(fill(mean), fill(scale), kept, is_gaussian(latents.distribution))


def is_deterministic(model: Evaluated, batch: Batch) -> bool:
    """Whether the posteriors of a model are point masses, by that of the first row."""
    return is_point_mass(infer(model, batch[:1], progress=False).distribution)


def is_gaussian(distribution: Distribution) -> bool:
    """Whether it is a diagonal Gaussian."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return isinstance(distribution, torch.distributions.Normal)


def prior_of(model: Evaluated) -> Distribution:
    """The model's prior.

    Raises:
        TypeError: If the model has none, or one that differs from row to row.
    """
    able = require(model, HasPrior, "has no prior; this plot needs a probabilistic model")
    size = able.covariates.size
    with torch.no_grad():
        prior = able.prior(torch.zeros(2, size, device=device_of(model)) if size else None)
    if prior.batch_shape:
        raise TypeError(
            f"the prior of this {type(model).__name__} depends on covariates; this plot needs one that all rows share."
        )
    return prior


@contextmanager
def evaluating(model: Any, seed: int) -> Iterator[None]:
    """No gradients, evaluation mode, and draws of a fixed seed; the model's mode and the generators come back."""
    with torch.no_grad(), mode(model, training=False), seeded(seed, next(iter(model.parameters())).device):
        yield
