"""Numbers in every form that people have them, as a tensor and a record of what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
"""Unsigned types for which PyTorch has no arithmetic, and what holds their values."""

_LARGEST = 2**63 - 1

_IMAGE_BATCH_DIMENSIONS = 4
"""Rows, channels, height and width."""


def as_tensor(name: str, value: Any) -> tuple[Tensor, Tensor | None]:
    """Return the numbers of ``value`` as a dense tensor, and where they are present.

    Takes tensors (sparse and quantised ones too), arrays of numpy (masked, read-only, of either byte order), sparse
    matrices of SciPy, tables and columns of pandas, nested lists, and whatever else offers itself as an array. Unsigned
    integers of 16 bits and more become signed ones, since PyTorch cannot calculate with them.

    Args:
        name: Name of the modality or argument, for error messages.
        value: Numbers in any of these forms. ``None`` as an item of a list marks a missing row; as an element of an
            array, like ``pandas.NA``, a missing number.

    Returns:
        The tensor, and a boolean tensor that is false where something is missing: of the tensor's shape where a mask
        hides elements, ``[N]`` where items of a list are ``None``. ``None`` in its place where nothing is said to be
        missing; elements of floating-point data may then still be NaN.

    Raises:
        TypeError: for something that holds no numbers.
        ValueError: for rows of different shapes, and integers beyond 64 bits.
    """
    if isinstance(value, Tensor):
        return _dense(name, value), None
    if isinstance(value, np.ma.MaskedArray):
        tensor = _from_numpy(name, np.ma.getdata(value))
        return tensor, torch.from_numpy(~np.ma.getmaskarray(value))
    if _comes_from(value, "scipy") and hasattr(value, "toarray"):
        value = value.toarray()
    elif _comes_from(value, "pandas") and hasattr(value, "to_numpy"):
        value = _from_pandas(name, value)
    elif isinstance(value, list | tuple):
        return _from_list(name, value)
    return _from_numpy(name, _as_array(name, value)), None


def narrowed(name: str, data: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the data in the type that a model calculates with.

    Args:
        name: Name of the modality.
        data: Numbers ``[N, ...]``, finite.
        dtype: Type to cast to.

    Raises:
        ValueError: for finite values beyond the range of ``dtype``.
    """
    cast = data.to(dtype)
    if data.dtype != torch.float64 or not dtype.is_floating_point or dtype == torch.float64:
        return cast
    beyond = cast.isinf()
    if bool(beyond.any()):
        row = int(beyond.nonzero()[0, 0])
        raise ValueError(
            f"{name}: row {row} holds {data[beyond][0].item():.3g}, beyond {dtype}, in which models calculate; rescale "
            f"the data."
        )
    return cast


def are_grey_levels(values: Tensor) -> bool:
    """Whether numbers are images or volumes in bytes: rows ``[C, H, W]`` of three dimensions, or of more.

    The one rule for bytes, wherever data comes from. All other bytes are whole numbers: counts and codes.
    """
    return values.dtype == torch.uint8 and values.ndim >= _IMAGE_BATCH_DIMENSIONS


def as_models_read(values: Tensor) -> Tensor:
    """Return grey levels 0..255 as float32 in [0, 1], by the division of image libraries; all else as it is."""
    return values.to(torch.float32).div_(255) if are_grey_levels(values) else values


def _comes_from(value: Any, package: str) -> bool:
    """Whether a type is one of a package that need not be installed."""
    return any(kind.__module__.split(".")[0] == package for kind in type(value).__mro__)


def _dense(name: str, tensor: Tensor) -> Tensor:
    """The tensor with strides and with a type that PyTorch calculates with."""
    if tensor.is_nested:
        raise TypeError(f"{name}: got a nested tensor; pad its rows to one shape, and mask the padding with observed=.")
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and tensor.dtype.itemsize == 1:  # float8: no arithmetic either
        return tensor.float()
    if tensor.dtype == torch.uint64 and tensor.numel():
        largest = int(tensor.cpu().numpy().max())
        if largest > _LARGEST:
            raise ValueError(
                f"{name}: holds {largest}, beyond the 64-bit integers of PyTorch; convert it to real numbers."
            )
    return tensor.to(_WIDER.get(tensor.dtype, tensor.dtype))


def _from_pandas(name: str, value: Any) -> np.ndarray:
    """The numbers of a table or a column, whatever its index."""
    for column, kind in value.dtypes.items() if hasattr(value, "columns") else ():
        if kind.name in ("object", "category", "string", "str") or kind.kind in "mM":
            raise TypeError(
                f"{name}: column {column!r} of the table is {kind}; encode it as numbers first, or take modalities and "
                f"data of the whole table from mmvae.data.from_frame."
            )
    return value.to_numpy()


def _from_list(name: str, value: list[Any] | tuple[Any, ...]) -> tuple[Tensor, Tensor | None]:
    """A list of rows, each in a form of its own; rows that are ``None`` are missing."""
    there = [row is not None for row in value]
    if not all(there):
        rows = [row for row in value if row is not None]
        if not rows:
            raise TypeError(f"{name}: every row is None; leave the modality out.")
        tensor, mask = _from_list(name, rows)
        present = torch.tensor(there)
        full = tensor.new_zeros(len(value), *tensor.shape[1:])
        full[present] = tensor
        if mask is None:
            return full, present
        elements = torch.zeros(len(value), *mask.shape[1:], dtype=torch.bool)
        elements[present] = mask
        return full, elements
    if any(isinstance(row, Tensor | np.ma.MaskedArray) or hasattr(row, "toarray") for row in value):
        parts = [as_tensor(name, row) for row in value]
        shapes = {tuple(part.shape) for part, _ in parts}
        if len(shapes) > 1:
            raise _ragged(name, value)
        tensor = torch.stack([part for part, _ in parts])
        if all(mask is None for _, mask in parts):
            return tensor, None
        return tensor, torch.stack(
            [torch.ones_like(part, dtype=torch.bool) if mask is None else mask for part, mask in parts]
        )
    return _from_numpy(name, _as_array(name, value)), None


def _as_array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, str | bytes | dict | set | frozenset):
        raise _no_numbers(name, value)
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise _ragged(name, value) from error
    except (TypeError, RuntimeError) as error:  # an object that offers itself as an array, and then is none
        raise _no_numbers(name, value) from error
    if array.dtype == object and array.ndim == 0:
        raise _no_numbers(name, value)
    return array


def _from_numpy(name: str, array: np.ndarray) -> Tensor:
    """The array as a tensor, which shares its memory where PyTorch can."""
    array = np.asarray(array)
    if array.dtype.kind == "O":
        array = _from_objects(name, array)
    kind = array.dtype.kind
    if array.dtype.name.startswith(("bfloat16", "float8")):  # of ml_dtypes, as JAX has them
        array = array.astype(np.float32)
    elif kind not in "biufc":
        advice = {"M": "count days or seconds instead", "m": "divide by a unit of time", "V": "pass a column for each"}
        what = {"M": "dates", "m": "durations", "V": "records of several fields"}.get(kind, "text")
        raise TypeError(f"{name}: holds {what} ({array.dtype}); {advice.get(kind, 'encode it as whole numbers')}.")
    elif kind in "iuf":  # in the byte order of this machine, and of the one type of its width that PyTorch knows
        plain = np.dtype(f"{kind}{min(array.dtype.itemsize, 8)}")
        array = array.view(plain) if array.dtype == plain else array.astype(plain)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):  # memory that a tensor cannot share
        array = array.copy()
    return _dense(name, torch.from_numpy(array))


def _from_objects(name: str, array: np.ndarray) -> np.ndarray:
    """Numbers that came as objects of Python; those that say to be missing as NaN."""
    flat = array.ravel()
    missing = np.array([each is None or type(each).__name__ == "NAType" for each in flat], dtype=bool)
    present = flat[~missing].tolist()
    odd = next((each for each in present if isinstance(each, str | bytes) or not _is_number(each)), None)
    if odd is not None:
        if isinstance(odd, list | tuple | np.ndarray | Tensor):
            raise _ragged(name, array)
        raise TypeError(f"{name}: expected numbers, got {odd!r} of type {type(odd).__name__}; encode it as numbers.")
    try:
        numbers = np.asarray(present if present else [], dtype=None if present else np.float64)
        if numbers.dtype == object:  # integers beyond 64 bits, decimals, fractions
            numbers = np.asarray([float(each) for each in present])
    except OverflowError as error:
        raise ValueError(f"{name}: holds a number beyond float64; rescale the data.") from error
    if not missing.any():
        return numbers.reshape(array.shape)
    full = np.full(len(flat), np.nan)
    full[~missing] = numbers
    return full.reshape(array.shape)


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and (not hasattr(value, "ndim") or value.ndim == 0)


def _no_numbers(name: str, value: Any) -> TypeError:
    return TypeError(f"{name}: expected a tensor or a numeric array, got {type(value).__name__}.")


def _ragged(name: str, value: Any) -> ValueError:
    return ValueError(
        f"{name}: the {len(value)} rows have different shapes; pad them to one shape, and mask the padding with "
        f"observed=."
    )
