"""Hidden states of frozen encoders: gathered in memory, or on disk, where they are checked and mapped when read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.batch import Batch
from mmvae.files import named, reading, remove_abandoned, temporary_beside
from mmvae.storage import mapped_array

_STATES, _VALID, _ABOUT = "states.npy", "valid.npy", "about.json"
_PIECE = 2**24
"""Bytes of a file that are looked at together."""


@dataclass(frozen=True, eq=False)
class Features:
    """What an encoder makes of N data points.

    Attributes:
        states: hidden states and, last, the final tokens, ``[N, S, L + 1, d]``, the class token first; zeros where a
            datum is missing or a token is padding.
        valid: which tokens there are, ``[N, S]``.
    """

    states: Float[Tensor, "N S L d"]
    valid: Bool[Tensor, "N S"]


class Fingerprint:
    """A hash of the data of a modality and of what is missing of it, fed by batches, however they are cut.

    Args:
        name: of the modality.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts: dict[str, Any] = {}

    def add(self, batch: Batch) -> None:
        """Takes in the rows of a batch."""
        nothing = torch.zeros(batch.size, dtype=torch.bool)
        self._add("observed", batch.observed.get(self._name, nothing))
        if self._name in batch.data:
            self._add("data", batch.data[self._name])
        if self._name in batch.cells:
            self._add("cells", batch.cells[self._name])

    def hexdigest(self) -> str:
        """The hash of all rows so far."""
        parts = {part: digest.hexdigest() for part, digest in self._parts.items()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _add(self, part: str, value: Tensor) -> None:
        if part not in self._parts:
            self._parts[part] = hashlib.sha256(f"{value.dtype}{tuple(value.shape[1:])}".encode())
        self._parts[part].update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


class FeatureWriter:
    """Takes the features of any rows; those that it is never given are missing.

    Args:
        name: of the modality.
        rows: N, how many data points there are in all.
        place: a folder that appears when it is finished; ``None`` keeps everything in memory.
    """

    def __init__(self, name: str, rows: int, place: Path | None = None) -> None:
        self._name, self._rows, self._place = name, rows, place
        self._features: Features | None = None
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(place.parent)
            self._unfinished = temporary_beside(place)
            self._unfinished.mkdir()

    def add(self, start: int, features: Features) -> None:
        """Takes the features of the rows from ``start`` on.

        Raises:
            ValueError: for another number of tokens than the first rows had.
        """
        if self._features is None:
            self._features = self._empty(features)
        expected, tokens = self._features.valid.shape[1], features.valid.shape[1]
        if tokens != expected:
            raise ValueError(
                f"{self._name}: expected {expected} tokens of each datum, the class token among them, as in the first "
                f"batch, got {tokens} from row {start} on; pad all data to one length, and say which steps are there: "
                f"observed={{{self._name!r}: bool [N, T]}}."
            )
        rows = slice(start, start + len(features.valid))
        self._features.states[rows] = features.states.to("cpu", torch.float32)
        self._features.valid[rows] = features.valid.cpu()

    def finish(self, key: Mapping[str, Any]) -> Features | None:
        """The features of all rows, ``None`` where every one is missing.

        Args:
            key: what they depend on; :func:`read` asks for it.
        """
        if self._features is None or self._place is None:
            return self._features
        valid = self._features.valid.numpy()
        self._features = None  # with it goes the mapping, and what it held is written
        with named(self._place):
            np.save(self._unfinished / _VALID, valid)
            checksums = {name: _checksum(self._unfinished / name) for name in (_STATES, _VALID)}
            about = json.dumps({"key": dict(key), "checksums": checksums}, indent=2)
            (self._unfinished / _ABOUT).write_text(about + "\n", encoding="utf-8")
            for path in self._unfinished.iterdir():
                with open(path, "rb+") as file:  # on the disk before the name points to it
                    os.fsync(file.fileno())
            _remove_own(self._place)  # damaged, or finished meanwhile by another process
            os.replace(self._unfinished, self._place)
        return _mapped(self._place)

    def close(self) -> None:
        """Removes what was not finished."""
        if self._place is not None:
            self._features = None
            shutil.rmtree(self._unfinished, ignore_errors=True)

    def _empty(self, like: Features) -> Features:
        valid = torch.zeros(self._rows, like.valid.shape[1], dtype=torch.bool)
        shape = (self._rows, *like.states.shape[1:])
        if self._place is None:
            return Features(torch.zeros(shape), valid)
        path = self._unfinished / _STATES
        states = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with named(self._place), open(path, "rb+") as file:  # an error now, no crash when the disk is full
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return Features(torch.from_numpy(states), valid)


def place_of(folder: Path, name: str, key: Mapping[str, Any]) -> Path:
    """Where the features of a modality are kept under a key."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)}-{digest[:16]}"


def read(place: Path, key: Mapping[str, Any]) -> Features | None:
    """The features that are kept in a folder, mapped into memory.

    ``None``, if there are none; or if their files are damaged, of which it warns.
    """
    if not place.is_dir():
        return None
    try:
        with reading(place):
            about = json.loads((place / _ABOUT).read_bytes().decode("utf-8"))
            if about["key"] == key and all(
                _checksum(place / name) == about["checksums"][name] for name in (_STATES, _VALID)
            ):
                return _mapped(place)
    except (OSError, ValueError):
        pass
    warnings.warn(f"{place} is damaged; the features that it held are computed again.", stacklevel=3)
    return None


def _mapped(place: Path) -> Features:
    states = mapped_array(place / _STATES, "c")  # what is written to it stays in memory
    return Features(torch.from_numpy(states), torch.from_numpy(np.array(mapped_array(place / _VALID))))


def _remove_own(place: Path) -> None:
    """Remove a folder of features, unless something else lies in it."""
    if not place.exists():
        return
    others = sorted(path.name for path in place.iterdir() if path.name not in (_STATES, _VALID, _ABOUT))
    if others:
        raise FileExistsError(
            f"{place} holds {others[0]}, which mmvae did not write; move it away, or choose another cache."
        )
    shutil.rmtree(place)


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum
