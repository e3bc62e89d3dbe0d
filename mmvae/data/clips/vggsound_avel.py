"""VGGSound-AVEL: features of clips from the web, to pretrain codebooks on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.data.clips.clip_features import ClipFeatures, batch_of
from mmvae.data.clips.clip_files import (
    STEPS,
    Space,
    checked_space,
    complete_clips,
    read_clips,
    read_table,
    read_words,
)
from mmvae.data.reading import Split, checked_split, data_folder, read_array

NAME = "VGGSound-AVEL"

_LIST = "vggsound-avel40k.csv"
_PARTS = {"train": "train", "validation": "val", "test": "test"}
_MODALITIES = ("audio", "video", "text")


def vggsound_avel(
    root: Path | str | None = None,
    split: Split | Literal["all"] = "all",
    *,
    modalities: Sequence[str] = ("audio", "video"),
    space: Space = "mean",
) -> ClipFeatures:
    """VGGSound-AVEL: ten seconds of sound and picture, each clip of one of 141 classes.

    Expects ``vggsound-avel40k.csv``, with columns ``video_id``, ``category`` and ``split``, in the root or in
    ``VGGSound-AVEL`` below it; beside it ``audio/<video_id>.npy`` ``[t, 128]`` (VGGish) and ``video/<video_id>.npy``
    ``[10, 7, 7, 512]`` (VGG-19), or what is left of it after a mean over the places, ``[10, 512]``. ``text`` is
    ``text/<category>.npy`` ``[n, width]``, embeddings of the words of a sentence on the class, of which the first ten
    are taken. ``label/<video_id>.npy``, ten numbers that are above 0 in the seconds of the event, gives step labels, if
    there is such a folder.

    Clips that lack a file are left out, and a note says how many.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        split: which part; all of them, as the authors of DCID pretrain, who use no labels.
        modalities: some of ``"audio"``, ``"video"`` and ``"text"``.
        space: what becomes of the 7 x 7 places of a picture: ``"mean"``; ``"sum"``, which the authors' code amounts to;
            or ``"flat"``, which is 49 times as wide.

    Raises:
        SourceNotFound: if the list is absent, or no clip has its files.
        ValueError: for an unknown argument, and if a file is damaged or a pickle.

    Source: Zhou et al. 2022 (the data set); Xia et al. 2023 (its use).
    """
    if split != "all":
        checked_split(split)
    checked_space(space)
    unknown = [name for name in modalities if name not in _MODALITIES]
    if unknown or not modalities:
        raise ValueError(f"modalities: expected some of {', '.join(map(repr, _MODALITIES))}, got {list(modalities)}.")
    folder = data_folder(NAME, root, (NAME,), _LIST)
    rows = read_table(NAME, folder / _LIST, ("video_id", "category", "split"), ",")
    classes = tuple(sorted({row["category"] for row in rows}))
    rows = [row for row in rows if split == "all" or row["split"] == _PARTS[split]]
    folders = {name: folder / name for name in modalities if name != "text"}
    if (folder / "label").is_dir():
        folders["label"] = folder / "label"
    places, notes = complete_clips(NAME, folders, [row["video_id"] for row in rows])
    rows = [rows[place] for place in places]
    clips = [row["video_id"] for row in rows]
    labels = torch.tensor([classes.index(row["category"]) for row in rows])
    sequences = {}
    for name in modalities:
        if name == "text":
            sequences[name] = _sentences(folder / "text", [row["category"] for row in rows])
        else:
            sequences[name] = read_clips(NAME, folder / name, clips, space)
    step_labels = {}
    if "label" in folders:
        happens = _happens(folder / "label", clips)
        one_hot = torch.nn.functional.one_hot(labels, len(classes)).bool()
        step_labels = dict.fromkeys(modalities, happens.unsqueeze(-1) & one_hot.unsqueeze(1))
        step_labels.pop("text", None)
    return ClipFeatures(NAME, batch_of(sequences, labels), step_labels, classes, tuple(clips), notes)


def _sentences(folder: Path, categories: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The words of each category, ``[N, 10, width]``, and which are there."""
    each = sorted(set(categories))
    words, there = read_words(NAME, folder, each)
    rows = torch.tensor([each.index(category) for category in categories])
    return words[rows], there[rows]


def _happens(folder: Path, clips: Sequence[str]) -> Bool[Tensor, "N T"]:
    """The seconds of each clip in which its event is seen and heard."""
    happens = torch.zeros(len(clips), STEPS, dtype=torch.bool)
    for row, clip in enumerate(clips):
        values = read_array(NAME, folder / f"{clip}.npy").reshape(-1)
        if len(values) != STEPS:
            raise ValueError(f"{NAME}: {folder / f'{clip}.npy'} should hold {STEPS} numbers, got {len(values)}.")
        happens[row] = torch.from_numpy(values > 0)
    return happens
