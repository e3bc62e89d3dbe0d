"""Files that are whole or not there: JSON, tensors, and nested states that mix the two. Nothing is ever pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmvae.files import write_whole

_STATE = "state"
"""The entry of a file's metadata that holds, as JSON, what is no tensor."""


def write_text(path: Path, text: str) -> None:
    """Writes a text file; a kill at any moment leaves the old file or the new one, never half of one."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file of bytes, atomically."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that a person can read, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: it is not JSON ({error}).") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes named tensors as safetensors, atomically."""
    # Cloned, since safetensors refuses tensors that share memory, as tied weights do.
    owned = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_whole(path, lambda temporary: save_file(owned, temporary, metadata=dict(metadata or {})))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its metadata.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, perhaps cut off ({error}); restore it from a copy.") from error


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a nested state of dicts, lists, tuples, tensors and plain values as one safetensors file, atomically.

    Raises:
        TypeError: for anything else in the state; the message says where it stands.
    """
    tensors: dict[str, Tensor] = {}
    packed = json.dumps(_pack(dict(state), "", tensors))
    write_tensors(path, tensors, {_STATE: packed})


def read_state(path: Path) -> dict[str, Any]:
    """The nested state that :func:`write_state` wrote, tensors on the CPU.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    tensors, metadata = read_tensors(path)
    try:
        state: dict[str, Any] = _unpack(json.loads(metadata[_STATE]), tensors)
        return state
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: its state is incomplete ({error}).") from error


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
