"""MuData objects as data: modalities aligned by their cells, sparse, with presence as the object says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mmvae.latents import Latents
from mmvae.likelihoods import Bernoulli, Likelihood, NegativeBinomial, Normal
from mmvae.modality import Modality
from mmvae.sources import Source, as_source
from mmvae.sparse import is_sparse

if TYPE_CHECKING:
    from mudata import MuData

_MOST_LOOKED_AT = 2**22
"""Values that are looked at to tell counts from real numbers."""


@dataclass(frozen=True, eq=False)
class Cells:
    """A MuData object as data of modalities.

    Attributes:
        modalities: Modalities for a model.
        data: Source of N cells for :func:`mmvae.fit`, :func:`mmvae.infer` and :func:`mmvae.evaluate`, with labels and
            covariates; sparse matrices stay sparse until a batch is read.
        covariates: ``{name: levels}`` for ``covariates=`` of a model: categories, or ``None`` for numbers.
        categories: ``{covariate: names of its categories}``, in the order of their codes.
        names: Names of the cells, ``[N]``.
        rows: Their places in the object, ``[N]``: cells of no chosen modality are left out.
    """

    modalities: list[Modality]
    data: Source
    covariates: dict[str, int | None]
    categories: dict[str, tuple[str, ...]]
    names: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def write(self, mdata: MuData, latents: Latents | Tensor | np.ndarray, key: str = "X_mmvae") -> None:
        """Put latents into ``mdata.obsm``, in the order of its cells; NaN for cells that have none.

        Args:
            mdata: Object that these cells come from, or another one with the same cells.
            latents: Latents of the N cells, as :func:`mmvae.infer` gives them, or numbers ``[N, D]``.
            key: Name in ``obsm``.

        Raises:
            ValueError: For another number of rows, or an object of other cells.
        """
        values = latents.mean if isinstance(latents, Latents) else latents
        found = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
        if found.ndim != 2 or len(found) != len(self):
            raise ValueError(f"latents: expected [{len(self)}, D], a row for each cell, got shape {found.shape}.")
        places = _indexer(mdata.obs_names, self.names)
        if (places < 0).any():
            lost = self.names[int((places < 0).argmax())]
            raise ValueError(f"mdata: it has no cell {lost!r}; pass the object that the data was made of.")
        whole = np.full((mdata.n_obs, found.shape[1]), np.nan, found.dtype)
        whole[places] = found
        mdata.obsm[key] = whole


def from_mudata(
    mdata: MuData | str | Path,
    modalities: Sequence[str] | None = None,
    *,
    layer: str | Mapping[str, str | None] | None = None,
    features: str | Mapping[str, Any] | None = None,
    likelihoods: Mapping[str, Likelihood] | None = None,
    labels: str | None = None,
    covariates: Sequence[str] = (),
) -> Cells:
    """A MuData object as data of a model.

    Cells are aligned by the object. A cell lacks a modality where the object says so, whatever its counts add up to.
    Nothing is made dense but the rows of a batch.

    The default likelihood follows from the values: 0 and 1 are ``Bernoulli()``, other whole numbers from 0
    ``NegativeBinomial()``, everything else ``Normal("by_feature")``.

    Args:
        mdata: The object, or the path of an ``.h5mu`` file.
        modalities: Names of those to take; by default all.
        layer: Layer with the values, for all or by modality; ``None`` for ``X``. Counts suit best.
        features: Column of ``var`` that marks the features to take, such as ``"highly_variable"``; or, by modality,
            such a column, or the names of the features.
        likelihoods: ``{name: likelihood}`` in the place of those that follow from the values.
        labels: Column of ``obs`` with classes, for :func:`mmvae.evaluate` and for classifiers.
        covariates: Columns of ``obs`` that are known for every cell, such as the batch. Texts and categories become
            codes, numbers stay numbers.

    A column of ``obs`` is looked for as it is and, if it is not there, as ``"<modality>:<column>"``, of which the first
    one that is known counts.

    Raises:
        ImportError: If a path is given and mudata is not installed.
        TypeError: For something that is not a MuData object.
        ValueError: For modalities, layers, features or columns that the object does not have, or a covariate that is
            not known for every cell.

    Example:
        >>> import mmvae  # doctest: +SKIP
        >>> cells = mmvae.data.from_mudata("multiome.h5mu", layer="counts", covariates=["batch"])  # doctest: +SKIP
        >>> vae = mmvae.models.MoPoE(cells.modalities, latent_dim=20, covariates=cells.covariates)  # doctest: +SKIP
        >>> run = mmvae.fit(vae, cells.data, epochs=100, validation=0.1)  # doctest: +SKIP
        >>> cells.write(mdata, mmvae.infer(vae, cells.data))  # doctest: +SKIP
    """
    mdata = _opened(mdata)
    known = list(mdata.mod)
    chosen = known if modalities is None else list(modalities)
    for name in chosen:
        if name not in known:
            raise ValueError(f"modalities: the object has no {name!r}; it has {', '.join(map(repr, known))}.")
    if not chosen:
        raise ValueError("modalities: name at least one.")
    places = {name: _places(mdata, name) for name in chosen}
    rows = np.flatnonzero(np.any([each >= 0 for each in places.values()], axis=0))
    if not len(rows):
        raise ValueError(f"mdata: no cell has any of {', '.join(map(repr, chosen))}.")
    data: dict[str, Any] = {}
    observed: dict[str, Tensor] = {}
    made = []
    for name in chosen:
        values = _values(mdata.mod[name], name, _of(layer, name), _of(features, name))
        here = places[name][rows]
        data[name], observed[name] = _aligned(values, here), torch.from_numpy(here >= 0)
        likelihood = (likelihoods or {}).get(name) or _likelihood(values)
        made.append(Modality(name, (values.shape[1],), likelihood))
    levels: dict[str, int | None] = {}
    categories: dict[str, tuple[str, ...]] = {}
    given = {}
    for column in covariates:
        given[column], names = _covariate(column, _column(mdata, column).iloc[rows])
        levels[column] = None if names is None else len(names)
        if names is not None:
            categories[column] = names
    classes = None if labels is None else _column(mdata, labels).iloc[rows].astype("category")
    source = as_source(data, observed, classes, given or None)
    return Cells(made, source, levels, categories, np.asarray(mdata.obs_names)[rows], rows)


def _opened(mdata: Any) -> Any:
    if isinstance(mdata, str | Path):
        try:
            import mudata
        except ImportError as error:
            raise ImportError('from_mudata needs mudata; install it with pip install "mmvae[omics]".') from error
        return mudata.read_h5mu(mdata)
    if not (hasattr(mdata, "mod") and hasattr(mdata, "obsmap")):
        raise TypeError(
            f"mdata: expected a mudata.MuData object or the path of one, got {type(mdata).__name__}; make one of "
            f'several AnnData objects with mudata.MuData({{"rna": rna, "protein": protein}}).'
        )
    return mdata


def _of(value: Any, name: str) -> Any:
    """What an argument says of a modality, given for all or by name."""
    return value.get(name) if isinstance(value, Mapping) else value


def _indexer(names: Any, wanted: Any) -> np.ndarray:
    return np.asarray(names.get_indexer(wanted))


def _places(mdata: Any, name: str) -> np.ndarray:
    """Row of a modality for each cell of the object, -1 where the cell lacks it."""
    return np.asarray(mdata.obsmap[name]).astype(np.int64).reshape(-1) - 1  # the object counts from 1


def _values(adata: Any, name: str, layer: str | None, features: Any) -> Any:
    """The values of a modality, ``[n, P]``: a sparse matrix or an array."""
    if layer is not None and layer not in adata.layers:
        known = ", ".join(map(repr, adata.layers)) or "none"
        raise ValueError(f"layer: {name!r} has no layer {layer!r}; it has {known}.")
    values = adata.X if layer is None else adata.layers[layer]
    if values is None:
        raise ValueError(f"{name}: X is empty; name a layer with layer=.")
    if hasattr(values, "to_memory"):  # of an object that is backed by a file
        values = values.to_memory()
    columns = _features(adata, name, features)
    if is_sparse(values):
        from scipy import sparse

        values = sparse.csr_array(values)
    else:
        values = np.asarray(values)
    return values if columns is None else values[:, columns]


def _features(adata: Any, name: str, features: Any) -> np.ndarray | None:
    if features is None:
        return None
    if isinstance(features, str):
        if features not in adata.var:
            raise ValueError(
                f"features: {name!r} has no column {features!r} in var; it has {', '.join(map(repr, adata.var))}."
            )
        columns = np.flatnonzero(adata.var[features].to_numpy(dtype=bool))
    else:
        columns = _indexer(adata.var_names, list(features))
        if (columns < 0).any():
            raise ValueError(f"features: {name!r} has no feature {list(features)[int((columns < 0).argmax())]!r}.")
    if not len(columns):
        raise ValueError(f"features: none of {name!r} is chosen; mark at least one.")
    return columns


def _aligned(values: Any, places: np.ndarray) -> Any:
    """The rows at these places, with rows of zeros, or empty ones, at places of -1."""
    there = places >= 0
    if there.all():
        return values[places]
    if not is_sparse(values):
        whole = np.zeros((len(places), values.shape[1]), values.dtype)
        whole[there] = values[places[there]]
        return whole
    from scipy import sparse

    taken = values[places[there]]
    sizes = np.zeros(len(places), np.int64)
    sizes[there] = np.diff(taken.indptr)
    ends = np.concatenate([[0], sizes.cumsum()])
    return sparse.csr_array((taken.data, taken.indices, ends), shape=(len(places), values.shape[1]))


def _likelihood(values: Any) -> Likelihood:
    numbers = np.asarray(values.data if is_sparse(values) else values).reshape(-1)[:_MOST_LOOKED_AT]
    if (numbers >= 0).all() and (numbers == numbers.round()).all():
        return Bernoulli() if numbers.max(initial=0) <= 1 else NegativeBinomial()
    return Normal("by_feature")


def _column(mdata: Any, column: str) -> Any:
    """A column of ``obs``: that of the object, or of its modalities, the first that is known."""
    if column in mdata.obs:
        return mdata.obs[column]
    parts = [mdata.obs[f"{name}:{column}"] for name in mdata.mod if f"{name}:{column}" in mdata.obs]
    if not parts:
        raise ValueError(f"obs: the object has no column {column!r}; it has {', '.join(map(repr, mdata.obs))}.")
    found = parts[0].astype(object)
    for part in parts[1:]:
        found = found.where(found.notna(), part.astype(object))
    return found.infer_objects()


def _covariate(name: str, values: Any) -> tuple[Tensor, tuple[str, ...] | None]:
    """Numbers of a covariate, and the names of its categories if it has some."""
    if values.isna().any():
        raise ValueError(
            f"covariates: {name!r} is not known for {int(values.isna().sum())} cells (the first is "
            f"{values.index[int(values.isna().to_numpy().argmax())]!r}); fill it in, or leave these cells out."
        )
    if values.dtype.kind in "iuf":
        return torch.from_numpy(np.array(values, np.float64)), None
    categorical = values.astype("category").cat.remove_unused_categories()
    return torch.from_numpy(np.array(categorical.cat.codes, np.int64)), tuple(map(str, categorical.cat.categories))
