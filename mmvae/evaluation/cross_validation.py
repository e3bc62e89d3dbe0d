"""Cross-validation: a model trained and evaluated on each of several folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from mmvae.choices import check_count
from mmvae.evaluation.across_seeds import across_seeds
from mmvae.evaluation.results import Evaluation
from mmvae.evaluation.suite import evaluate
from mmvae.labels import class_numbers
from mmvae.seeds import derive_seed
from mmvae.sources import Data, Source, as_source, rows_of

if TYPE_CHECKING:
    from mmvae.training import Run

Fold = tuple[Tensor, Tensor]
"""Numbers of the rows to train on, and of those to evaluate on, int64."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What training and evaluating on each fold gave.

    Attributes:
        runs: Run of each fold.
        evaluations: Evaluation of each fold, on rows that its model has not seen.
        folds: Rows of each fold: those trained on, and those evaluated on.
    """

    runs: list[Run]
    evaluations: list[Evaluation]
    folds: list[Fold]

    @property
    def summary(self) -> Evaluation:
        """Mean of each number over the folds, with ``sd`` and ``stderr`` (see :func:`across_seeds`).

        Folds share most of their training rows, so that ``stderr`` is an underestimate.
        """
        return across_seeds(self.evaluations)


def cross_validate(
    make: Callable[[], Any],
    data: Data,
    folds: int | Iterable[tuple[Any, Any]] | Any = 5,
    *,
    labels: Any = None,
    observed: Mapping[str, Any] | None = None,
    covariates: Mapping[str, Any] | None = None,
    groups: Any = None,
    metrics: Sequence[Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **fitting: Any,
) -> CrossValidation:
    """Train and evaluate a fresh model on each fold.

    Global random generators are left as they were. Each fold has a seed of its own, derived from ``seed``, for the
    weights that ``make`` draws and for its training.

    Args:
        make: Makes a fresh model, without arguments.
        data: N rows, as :func:`mmvae.fit` takes them, except streams.
        folds: Number of folds: shuffled, and with equal shares of each class where ``labels`` are classes of which each
            has a row for every fold. Or a splitter of scikit-learn, such as ``GroupKFold(5)``; or pairs of row numbers
            to train on and to evaluate on.
        labels: ``[N, ...]``, beside data in memory.
        observed: ``{name: bool [N]}``, beside data in memory.
        covariates: ``{name: numbers [N]}``, beside data in memory.
        groups: Group of each row, ``[N]``, such as its subject: rows of a group stay in one fold.
        metrics: Metrics of :func:`mmvae.evaluate`.
        evaluation: Further arguments of :func:`mmvae.evaluate`.
        seed: Seed of folds, weights and training.
        out: Folder with a run for each fold, ``fold_0``, ``fold_1``, ...; by default nothing is written.
        **fitting: Further arguments of :func:`mmvae.fit`, such as ``epochs``. ``validation=0.1`` holds out a share of
            the training rows of each fold.

    Raises:
        ValueError: For folds that the rows do not allow.
        TypeError: For something that is not a function without arguments, or folds of the wrong kind.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> def make():
        ...     return models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> data = {"a": torch.randn(60, 4), "b": torch.randn(60, 4)}
        >>> found = mmvae.cross_validate(make, data, 3, epochs=1, metrics=["cosine"], progress=False)
        >>> len(found.runs), found.summary.rows[0]["n"]
        (3, 3)
    """
    from mmvae.training import fit
    from mmvae.training.randomness import randomness_kept, seed_generators

    if not callable(make) or isinstance(make, torch.nn.Module):
        raise TypeError(
            f"make: expected a function that makes a fresh model for each fold, got {type(make).__name__}; write "
            f"make=lambda: models.MVAE(...)."
        )
    source = as_source(data, observed, labels, covariates)
    chosen = _folds(source, folds, groups, seed)
    progress = fitting.get("progress", True)
    runs, evaluations = [], []
    for number, (train, test) in enumerate(chosen):
        fold_seed = derive_seed(seed, "fold", number) % 2**32
        with randomness_kept():
            seed_generators(fold_seed)
            model = make()
        folder = None if out is None else Path(out) / f"fold_{number}"
        known, held_out = rows_of(source, train), rows_of(source, test)
        runs.append(fit(model, known, seed=fold_seed, out=folder, **fitting))
        options = {"progress": progress, "train": known, "seed": seed, **(evaluation or {})}
        evaluations.append(evaluate(model, held_out, metrics, **options))
    return CrossValidation(runs, evaluations, chosen)


def _folds(source: Source, folds: Any, groups: Any, seed: int) -> list[Fold]:
    size = len(source)
    splitter = _splitter(source, folds, groups, seed)
    if splitter is None:
        pairs = folds
    else:
        classes = _classes(source)
        grouped = None if groups is None else _groups(groups, size)
        pairs = splitter.split(np.zeros((size, 1)), classes, grouped)
    chosen = []
    for number, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"folds: expected a number of folds, a splitter of scikit-learn or pairs of row numbers, and fold "
                f"{number} is {type(pair).__name__}."
            )
        train, test = (_rows(number, which, rows, size) for which, rows in zip(("train", "test"), pair, strict=True))
        if bool(torch.isin(train, test).any()):
            raise ValueError(f"folds: fold {number} trains on rows that it is evaluated on; make its parts disjoint.")
        chosen.append((train, test))
    if not chosen:
        raise ValueError("folds: there are none; pass at least one pair of row numbers.")
    return chosen


def _splitter(source: Source, folds: Any, groups: Any, seed: int) -> Any:
    """Splitter of scikit-learn; ``None`` where folds come as pairs."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if hasattr(folds, "split"):
        return folds
    if isinstance(folds, Iterable):
        return None
    check_count("folds", folds, 2)
    if folds > len(source):
        raise ValueError(f"folds: {folds} folds need at least as many rows, got {len(source)}.")
    classes = _classes(source)
    is_stratified = classes is not None and np.unique(classes, return_counts=True)[1].min() >= folds
    options: dict[str, Any] = {"n_splits": int(folds), "shuffle": True, "random_state": seed % 2**32}
    if groups is not None:
        return StratifiedGroupKFold(**options) if is_stratified else GroupKFold(**options)
    return StratifiedKFold(**options) if is_stratified else KFold(**options)


def _classes(source: Source) -> np.ndarray | None:
    numbers = class_numbers(source.batch(torch.arange(len(source))).labels)
    return None if numbers is None else numbers.numpy()


def _groups(groups: Any, size: int) -> np.ndarray:
    found = groups.detach().cpu().numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    if found.shape != (size,):
        raise ValueError(f"groups: expected one for each of the {size} rows, got shape {found.shape}.")
    return found


def _rows(number: int, which: str, rows: Any, size: int) -> Int64[Tensor, "n"]:
    chosen = torch.as_tensor(np.asarray(rows))
    if chosen.dtype == torch.bool and chosen.shape == (size,):
        chosen = chosen.nonzero().flatten()
    if chosen.ndim != 1 or not len(chosen) or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise ValueError(f"folds: the {which} rows of fold {number} must be row numbers [n], at least one.")
    if not 0 <= int(chosen.min()) <= int(chosen.max()) < size:
        raise ValueError(f"folds: the {which} rows of fold {number} must lie in 0..{size - 1}.")
    return chosen.long()
