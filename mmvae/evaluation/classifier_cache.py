"""Trained classifiers on disk: weights as safetensors, what they were trained with as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.training.storage import read_json, read_tensors, write_json, write_tensors

_FORMAT = 1
"""To be raised when classifiers or their training change, so that older files are not taken for the new."""


def key(settings: Mapping[str, Any], size: int, probe: Batch, again: Batch, name: str) -> dict[str, Any]:
    """What a trained classifier depends on, in plain values.

    The data goes in as a hash of the rows of ``probe``. Where a second look at the same rows shows other values (a
    dataset that draws the modality from the label at each access), the labels alone go in.

    Args:
        settings: of the classifier and its training.
        size: how many data points there are to train on.
        probe: some of them.
        again: the same rows, read a second time.
        name: the modality.
    """
    digest = hashlib.sha256()
    assert probe.labels is not None  # train_classifiers has made sure
    parts = [probe.labels, probe.observed[name]]
    fixed = torch.equal(probe.data[name], again.data[name])
    for tensor in [*parts, probe.data[name]] if fixed else parts:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return {"format": _FORMAT, **settings, "size": size, "drawn_anew": not fixed, "data": digest.hexdigest()}


def read(folder: Path, name: str, key: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The weights that are kept under a key; ``None`` if there are none, or the files are damaged."""
    path = _path(folder, name, key)
    try:
        return read_tensors(path)[0] if read_json(path.with_suffix(".json")) == key else None
    except (OSError, ValueError):
        return None  # trained again, and written anew


def write(folder: Path, name: str, key: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Keeps the weights of a trained classifier."""
    path = _path(folder, name, key)
    write_tensors(path, state)
    write_json(path.with_suffix(".json"), key)


def _path(folder: Path, name: str, key: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / f"classifier-{re.sub(r'[^A-Za-z0-9_-]', '_', name)}-{digest[:16]}.safetensors"
