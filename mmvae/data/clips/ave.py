"""AVE: features of clips with an event that is both seen and heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmvae.batch import Batch
from mmvae.data.clips.clip_features import ClipFeatures
from mmvae.data.clips.clip_files import Space, by_chunks, checked_space, opened_h5, over_space
from mmvae.data.reading import Split, checked_split, data_folder

NAME = "AVE"

_ORDERS = {"train": "train_order.h5", "validation": "val_order.h5", "test": "test_order.h5"}
_ARRAY = "avadataset"


def ave(root: Path | str | None = None, split: Split = "train", *, space: Space = "mean") -> ClipFeatures:
    """AVE: ten seconds of ``audio`` and ``video``, and one of 28 events, which happens in some of the seconds.

    Expects the files of the data set's authors in the root, or in ``AVE``, ``AVE_feature`` or ``AVE/data`` below it:
    ``audio_feature.h5`` ``[n, 10, 128]``, ``visual_feature.h5`` ``[n, 10, 7, 7, 512]`` and ``labels.h5``
    ``[n, 10, 29]``, each with an array ``avadataset``; and ``{train,val,test}_order.h5``, arrays ``order`` of the clips
    of each split. The files do not name the events; the last column of the labels says that none happens. Needs the
    package h5py.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        split: 3,339, 402 or 402 clips.
        space: what becomes of the 7 x 7 places of a picture: ``"mean"``; ``"sum"``, which the code of DCID's authors
            amounts to; or ``"flat"``, which is 49 times as wide.

    Raises:
        SourceNotFound: if a file is absent.
        ValueError: for an unknown argument, a file that is damaged, or files that do not belong together.
        ImportError: without h5py.

    Source: Tian et al. 2018, "Audio-visual event localization in unconstrained videos".
    """
    checked_split(split)
    checked_space(space)
    folder = data_folder(NAME, root, ("AVE", "AVE_feature", "AVE/data"), _ORDERS[split])
    with opened_h5(NAME, folder / _ORDERS[split], "order") as order:
        rows = [int(row) for row in order[:]]
        if not rows:
            raise ValueError(f"{NAME}: {folder / _ORDERS[split]} lists no clip; fetch it again.")
    audio = _read(folder / "audio_feature.h5", rows, 3, _as_floats)
    video = _read(folder / "visual_feature.h5", rows, 5, lambda maps: over_space(maps, space))
    happens = _read(folder / "labels.h5", rows, 3, _as_floats)[..., :-1] > 0
    silent = (~happens.any((1, 2))).nonzero().flatten()
    if len(silent):
        raise ValueError(f"{NAME}: by {folder / 'labels.h5'} no event happens in clip {rows[int(silent[0])]}.")
    return ClipFeatures(
        NAME,
        Batch({"audio": audio, "video": video}, labels=happens.sum(1).argmax(1)),
        {"audio": happens, "video": happens},
        tuple(f"event {number}" for number in range(happens.shape[-1])),
        tuple(map(str, rows)),
    )


def _read(path: Path, rows: list[int], num_dims: int, change: Callable[[np.ndarray], Tensor]) -> Tensor:
    """Some clips of one of the files."""
    with opened_h5(NAME, path, _ARRAY) as array:
        if array.ndim != num_dims or not 0 <= min(rows) <= max(rows) < len(array):
            raise ValueError(
                f"{NAME}: {path} should hold {num_dims} dimensions and clips up to {max(rows)}, got {array.shape}."
            )
        return by_chunks(array, rows, change)


def _as_floats(values: np.ndarray) -> Float[Tensor, "..."]:
    return torch.from_numpy(values.astype(np.float32))
