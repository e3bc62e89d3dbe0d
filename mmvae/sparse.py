"""Sparse matrices, of which rows become dense only where a batch needs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from mmvae.casting import as_tensor


def is_sparse(value: Any) -> bool:
    """Whether data is a sparse matrix ``[n, P]``, of SciPy or as a tensor."""
    if isinstance(value, Tensor):
        return value.layout != torch.strided and value.ndim == 2 and not value.is_nested
    is_scipy = any(kind.__module__.startswith("scipy.sparse") for kind in type(value).__mro__)  # subclasses too
    return is_scipy and getattr(value, "ndim", 0) == 2


def as_csr(name: str, value: Any) -> Any:
    """Return a sparse matrix as a ``scipy.sparse.csr_array``, of which rows can be taken.

    Args:
        name: Name of the modality, for errors.
        value: What :func:`is_sparse` calls sparse.

    Raises:
        ValueError: For a matrix without rows or columns.
    """
    from scipy import sparse

    if isinstance(value, Tensor):
        entries = value.detach().cpu().to_sparse_coo().coalesce()
        values = entries.values()
        numbers = values.float() if values.dtype.itemsize < 4 and values.is_floating_point() else values
        value = sparse.coo_array((numbers.numpy(), tuple(entries.indices().numpy())), shape=tuple(entries.shape))
    matrix = sparse.csr_array(value)
    if 0 in matrix.shape:
        raise ValueError(f"{name}: expected rows of data, got a sparse matrix of shape {matrix.shape}.")
    return matrix


def dense_rows(name: str, matrix: Any, rows: Int64[Tensor, "B"]) -> Shaped[Tensor, "B P"]:
    """Return rows of a CSR matrix as a dense tensor on the CPU.

    Args:
        name: Name of the modality, for errors.
        matrix: Matrix as :func:`as_csr` gives it.
        rows: Numbers of the rows.
    """
    return as_tensor(name, np.asarray(matrix[rows.cpu().numpy()].toarray()))[0]
