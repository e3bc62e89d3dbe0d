"""A multimodal VAE as a transformer of scikit-learn."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from mmvae import models
from mmvae.distributions import mean_of
from mmvae.likelihoods import Normal
from mmvae.modality import Modality
from mmvae.vaes import MultimodalVAE

__all__ = ["MultimodalEncoder"]

_BLOCK = 256
"""Rows that are encoded at a time. Shorter blocks are filled up, since products of other sizes round otherwise."""

_LONGEST = 2**31 - 1


class MultimodalEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The latent of rows of numbers, of which groups of columns are modalities; NaN is missing.

    Works in ``Pipeline`` and ``GridSearchCV``. Columns are standardised within the model. A row without any number gets
    the mean of the prior, and training leaves it out.

    Args:
        groups: ``{name: columns}``, each group a modality: positions of columns, a slice, or for a table of pandas
            their names. Columns in no group are not looked at. By default all columns are one modality.
        latent_dim: D, number of latent columns.
        model: Name of a VAE in :mod:`mmvae.models` that is made from modalities and ``latent_dim``.
        likelihoods: ``{name: likelihood}`` of groups; by default ``Normal("learned")``.
        options: Further arguments of the model, such as ``{"beta": 0.5}``.
        epochs: How often training goes through the rows.
        batch_size: Rows of a step.
        lr: Learning rate.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        random_state: Seed of weights and training, a number or a ``RandomState``; by default another one each time.
        verbose: Show progress.

    Attributes:
        model_: The trained model, with all that the library can do with it.
        columns_: ``{name: positions of its columns}``.
        n_features_in_: Number of columns.
        feature_names_in_: Names of the columns of a table.

    Example:
        >>> import numpy as np
        >>> from mmvae.sklearn import MultimodalEncoder
        >>> rows = np.random.default_rng(0).normal(size=(60, 5))
        >>> rows[:20, 3:] = np.nan
        >>> encoder = MultimodalEncoder({"labs": slice(0, 3), "scores": [3, 4]}, latent_dim=2, epochs=2, random_state=0)
        >>> encoder.fit_transform(rows).shape
        (60, 2)
    """

    def __init__(  # takes anything, as scikit-learn demands: fit checks
        self,
        groups: Any = None,
        *,
        latent_dim: Any = 8,
        model: Any = "MVTCAE",
        likelihoods: Any = None,
        options: Any = None,
        epochs: Any = 100,
        batch_size: Any = 128,
        lr: Any = 1e-3,
        device: Any = "auto",
        random_state: Any = None,
        verbose: Any = False,
    ) -> None:
        self.groups = groups
        self.latent_dim = latent_dim
        self.model = model
        self.likelihoods = likelihoods
        self.options = options
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> MultimodalEncoder:
        """Train a fresh model.

        Args:
            X: Rows ``[N, P]``, NaN where a number is missing.
            y: Not looked at.

        Raises:
            ValueError: For groups that do not fit the columns, a model that is not a VAE of the library, or rows
                without any number.
        """
        from mmvae.training import fit
        from mmvae.training.randomness import randomness_kept, seed_generators

        rows = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=2)
        self.columns_ = self._columns()
        data = self._data(rows)
        known = self._known(data)
        if int(known.sum()) < 2:
            raise ValueError(
                f"X: n_samples={int(known.sum())} of the {len(rows)} rows have a number in any group, and training "
                f"needs at least 2."
            )
        seed = int(check_random_state(self.random_state).randint(_LONGEST))
        with randomness_kept():
            seed_generators(seed)
            self.model_ = self._made()
        fit(
            self.model_,
            {name: value[known] for name, value in data.items()},
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            device=self.device,
            seed=seed,
            progress=self.verbose,
        )
        self.model_.to("cpu").eval()
        self._n_features_out = self.model_.latent_dim
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means of rows given all that each of them has, ``[N, D]``.

        Args:
            X: Rows ``[N, P]``, NaN where a number is missing.
        """
        check_is_fitted(self)
        rows = self._validated(X)
        return self._latent(self._data(rows)).numpy().astype(rows.dtype)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean ELBO of the numbers that rows have, in nats per row; higher is better.

        Compare models on the same columns. Draws are the same at every call.

        Args:
            X: Rows ``[N, P]``, NaN where a number is missing.
            y: Not looked at.
        """
        from mmvae.training.randomness import randomness_kept, seed_generators

        check_is_fitted(self)
        data = self._data(self._validated(X))
        known = self._known(data)
        if not bool(known.any()):
            raise ValueError("X: no row has a number in any group, so there is nothing to score.")
        elbos = []
        with torch.no_grad(), randomness_kept():
            seed_generators(0)
            for rows in known.nonzero().flatten().split(_BLOCK):
                elbos.append(self.model_.elbo({name: value[rows] for name, value in data.items()}, num_samples=10))
        return float(torch.cat(elbos).double().mean())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validated(self, X: Any) -> np.ndarray:
        return validate_data(self, X, reset=False, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")

    def _columns(self) -> dict[str, list[int]]:
        """Positions of the columns of each group."""
        count = self.n_features_in_
        if self.groups is None:
            return {"columns": list(range(count))}
        if not isinstance(self.groups, Mapping) or not self.groups:
            raise ValueError(f"groups: expected a dict from names to columns, got {self.groups!r}.")
        names = list(getattr(self, "feature_names_in_", []))
        columns = {}
        for group, chosen in self.groups.items():
            if isinstance(chosen, slice):
                found = list(range(count))[chosen]
            else:
                each = [chosen] if isinstance(chosen, str | numbers.Integral) else list(chosen)
                found = [self._place(group, column, names, count) for column in each]
            if not found or len(set(found)) < len(found):
                raise ValueError(f"groups: {group!r} needs at least one column, each once, got {chosen!r}.")
            columns[group] = found
        return columns

    @staticmethod
    def _place(group: str, column: Any, names: Sequence[str], count: int) -> int:
        if isinstance(column, str):
            if column not in names:
                known = f"the columns {', '.join(map(repr, names))}" if names else "no names of columns; give positions"
                raise ValueError(f"groups: {group!r} has the column {column!r}, and X has {known}.")
            return names.index(column)
        if not isinstance(column, numbers.Integral) or not -count <= int(column) < count:
            raise ValueError(f"groups: {group!r} has the column {column!r}, and X has the columns 0 to {count - 1}.")
        return int(column) % count

    def _made(self) -> MultimodalVAE:
        kind = getattr(models, self.model, None) if isinstance(self.model, str) else None
        if not (isinstance(kind, type) and issubclass(kind, MultimodalVAE)):
            raise ValueError(
                f'model: expected the name of a VAE in mmvae.models, such as "MVTCAE", got {self.model!r}.'
            )
        given = dict(self.likelihoods or {})
        unknown = [name for name in given if name not in self.columns_]
        if unknown:
            raise ValueError(
                f"likelihoods: {unknown[0]!r} is not a group; choose among {', '.join(map(repr, self.columns_))}."
            )
        modalities = [
            Modality(name, (len(places),), given.get(name, Normal("learned")), missing="cells")
            for name, places in self.columns_.items()
        ]
        make: Any = kind
        return make(modalities, self.latent_dim, **(self.options or {}))

    def _data(self, rows: np.ndarray) -> dict[str, Tensor]:
        return {name: torch.from_numpy(rows[:, places]) for name, places in self.columns_.items()}

    @staticmethod
    def _known(data: Mapping[str, Tensor]) -> Tensor:
        """Rows that have a number."""
        return torch.stack([~value.isnan().all(1) for value in data.values()]).any(0)

    @torch.no_grad()
    def _latent(self, data: Mapping[str, Tensor]) -> Tensor:
        known = self._known(data)
        places = known.nonzero().flatten()
        prior = mean_of(self.model_.prior(None)).float()
        latent = prior.expand(len(known), -1).clone()
        for rows in places.split(_BLOCK):
            filled = torch.cat([rows, rows[:1].expand(_BLOCK - len(rows))])
            found = self.model_.infer({name: value[filled] for name, value in data.items()}).mean
            latent[rows] = found[: len(rows)]
        return latent
