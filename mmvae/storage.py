"""Files that are whole or not there: JSON, tensors, and nested states that mix the two. Nothing is ever pickled.

A file of tensors bears a digest of all that is in it, which is verified when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from safetensors.torch import load, save
from torch import Tensor

from mmvae.digest import digest
from mmvae.files import reading, write_whole

_STATE = "state"
"""Entry of a file's metadata that holds, as JSON, what is not a tensor."""

_DIGEST, _SEAL = "digest", "seal"
"""Entries of a file's metadata: the digest of tensors and metadata, and that of the metadata, read without tensors."""


def write_text(path: Path, text: str) -> None:
    """Write a text file; a kill at any moment leaves the old file or the new one, never half of one."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of bytes, atomically."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, value: Any) -> None:
    """Write JSON that a person can read, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    with reading(path):
        return json.loads(path.read_bytes().decode("utf-8"))


def mapped_array(
    path: Path, mode: Literal["r", "c"] = "r", what: str = "", advice: str = "Restore it from a copy."
) -> np.memmap:
    """The array of an ``.npy`` file, mapped into memory; the file is opened once, where numpy opens its path twice.

    Args:
        path: Of the file.
        mode: ``"r"``, or ``"c"`` for an array that can be written to, which leaves the file as it is.
        what: Data that the file is of, for the message.
        advice: Sentence that says what to do if it is damaged.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds objects, which are pickles.
    """
    with reading(path, what, advice), open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("it holds objects, which are pickles")
        return np.memmap(file, dtype, mode, file.tell(), shape, "F" if in_columns else "C")


class TensorFile:
    """A file of tensors as it was at one moment: opened once and read once, so that a writer cannot come between.

    Args:
        path: Of a safetensors file.

    Attributes:
        metadata: Texts by name, without the digest and the seal.
        is_sealed: Whether it has a digest; files of other programs, and those that format 1 wrote, have none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            self._content = path.read_bytes()
            head = _head(self._content, len(self._content))
        self.metadata, self._digest = head.metadata, head.digest
        self.is_sealed = head.digest is not None

    def tensors(self, sealed: bool = True) -> dict[str, Tensor]:
        """The tensors by name, on the CPU.

        Args:
            sealed: Whether the file must have a digest. One that is there is verified in any case.

        Raises:
            ValueError: If the file is damaged, or has no digest.
        """
        if sealed and not self.is_sealed:
            raise ValueError(
                f"{self.path} has no digest: it was written by another program or an early version, or is damaged. "
                f"Restore it from a copy."
            )
        with reading(self.path):
            tensors = load(self._content)
            if self.is_sealed and _digest_of(tensors, self.metadata) != self._digest:
                raise ValueError("its content does not fit the digest that it bears")
        return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors with a digest, atomically.

    Args:
        path: Of the file.
        tensors: Of any types, on any devices.
        metadata: Texts by name.
    """
    known = dict(metadata or {})
    apart = _apart(tensors)
    known[_DIGEST] = _digest_of(apart, known)
    known[_SEAL] = _seal_of(known)
    write_bytes(path, save(apart, known))


def read_tensors(path: Path, sealed: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its metadata.

    Args:
        path: Of the file.
        sealed: Whether it must have a digest, as all that this library writes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or has no digest.
    """
    file = TensorFile(path)
    return file.tensors(sealed), file.metadata


def read_metadata(path: Path) -> dict[str, str] | None:
    """The metadata of a file of tensors, without reading these; ``None`` if it has no seal of this library.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, as far as can be seen without the tensors.
    """
    with reading(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(_LENGTH)
        head = _head(first + file.read(min(_length(first), size)), size)
    return None if head.digest is None else head.metadata


def write_state(path: Path, state: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a nested state of dicts, lists, tuples, tensors and plain values as one safetensors file, atomically.

    Args:
        path: Of the file.
        state: What :func:`read_state` gives again.
        metadata: Texts by name that :func:`read_metadata` gives.

    Raises:
        TypeError: For anything else in the state; the message says where it stands.
    """
    tensors: dict[str, Tensor] = {}
    packed = json.dumps(_pack(dict(state), "", tensors))
    write_tensors(path, tensors, {**(metadata or {}), _STATE: packed})


def read_state(path: Path) -> dict[str, Any]:
    """The nested state that :func:`write_state` wrote, tensors on the CPU.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    tensors, metadata = read_tensors(path)
    if _STATE not in metadata:
        raise ValueError(f"{path} is damaged: its state is incomplete. Restore it from a copy.")
    with reading(path):
        state: dict[str, Any] = _unpack(json.loads(metadata[_STATE]), tensors)
        return state


def read_entry(path: Path, name: str) -> Any:
    """One entry of a state, which holds no tensors, read without those of the other entries.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, as far as can be seen without the tensors.
    """
    metadata = read_metadata(path)
    with reading(path):
        if metadata is None:
            raise ValueError("it has no digest")
        return _unpack(dict(json.loads(metadata[_STATE])["dict"])[name], {})


class _Head(NamedTuple):
    """What stands before the tensors of a file."""

    metadata: dict[str, str]
    digest: str | None


_LENGTH = 8
"""Bytes that hold the length of what stands before the tensors."""


def _length(content: bytes) -> int:
    return int.from_bytes(content[:_LENGTH], "little")


def _head(content: bytes, size: int) -> _Head:
    """What stands before the tensors, from the beginning of a file of ``size`` bytes; its seal is verified."""
    length = _length(content)
    if size < _LENGTH or length > size - _LENGTH:
        raise ValueError("it is shorter than it says")
    header = json.loads(content[_LENGTH : _LENGTH + length].decode("utf-8"))
    metadata = dict(header.get("__metadata__", {}))
    seal = metadata.pop(_SEAL, None)
    if (seal is None) != (_DIGEST not in metadata) or seal not in (None, _seal_of(metadata)):
        raise ValueError("its metadata does not fit the seal that it bears")
    found = metadata.pop(_DIGEST, None)
    return _Head(metadata, found)


def _digest_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    return digest(tensors, json.dumps(dict(metadata), sort_keys=True))


def _seal_of(metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode()).hexdigest()


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU; a copy of those that share memory, as tied weights do, which safetensors refuses."""
    apart, seen = {}, set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        whole = own.untyped_storage().nbytes() == own.numel() * own.element_size()
        apart[name] = own if whole and place not in seen else own.clone()
        seen.add(place)
    return apart


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON, its tensors moved to ``tensors`` under the place where they stood."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        while place in tensors:  # {"a.b": x, "a": {"b": y}}
            place += "+"
        tensors[place] = value
        return {"tensor": place}
    if isinstance(value, Mapping):
        items = [[key, _pack(item, f"{place}.{key}" if place else str(key), tensors)] for key, item in value.items()]
        return {"dict": items}  # pairs, since optimisers have integer keys
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{place}.{index}", tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(f"{place}: a {type(value).__name__} cannot be kept in a checkpoint; use tensors and plain values.")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, content), *_ = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_unpack(item, tensors) for item in content)
    return {key: _unpack(item, tensors) for key, item in content}
