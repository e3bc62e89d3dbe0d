"""AVVP (LLP): features of clips, and what is heard and what is seen in each second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.data.clips.clip_features import ClipFeatures, batch_of
from mmvae.data.clips.clip_files import STEPS, Space, checked_space, complete_clips, read_clips, read_table
from mmvae.data.reading import data_folder

NAME = "AVVP"

AnnotatedSplit = Literal["validation", "test"]

_LISTS = {"validation": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
_ANNOTATIONS = {"audio": "AVVP_eval_audio.csv", "video": "AVVP_eval_visual.csv"}
_COLUMNS = ("filename", "onset", "offset", "event_labels")
_ID = 11  # letters of a file name that are the clip's; the rest says which seconds of it


def avvp(
    root: Path | str | None = None, split: AnnotatedSplit = "validation", *, space: Space = "mean"
) -> ClipFeatures:
    """AVVP, also called LLP: ten seconds of ``audio`` and ``video``; any of 25 events in each second of each.

    Expects the authors' lists ``AVVP_eval_audio.csv`` and ``AVVP_eval_visual.csv`` (columns ``filename``, ``onset``,
    ``offset`` and ``event_labels``, separated by tabs: a row for each event, or a row for each clip with lists in which
    commas stand), ``AVVP_val_pd.csv`` and ``AVVP_test_pd.csv`` (with ``filename``), in the root or in ``AVVP`` or
    ``AVVP/data`` below it; beside them ``audio/<id>.npy`` ``[t, 128]`` and ``video/<id>.npy`` ``[10, 7, 7, 512]`` or
    ``[10, 512]``, where the id is the first eleven letters of the file name. For transfer, features have to be made by
    the networks that made those of the pretraining. Only these splits are annotated by the second.

    What is heard and what is seen are different annotations: ``step_labels["audio"]`` and ``step_labels["video"]``. The
    labels of a clip are the events in either. Clips that lack a file are left out, and a note says how many.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        split: 649 or 1,200 clips.
        space: what becomes of the 7 x 7 places of a picture: ``"mean"``; ``"sum"``, which the code of DCID's authors
            amounts to; or ``"flat"``, which is 49 times as wide.

    Raises:
        SourceNotFound: if a list is absent, or no clip has its files.
        ValueError: for an unknown argument, and if a file is damaged or a pickle.

    Source: Tian, Li and Xu 2020, "Unified multisensory perception: weakly-supervised audio-visual video parsing".
    """
    if split not in get_args(AnnotatedSplit):
        raise ValueError(f"split: expected 'validation' or 'test', got {split!r}; others are not annotated by second.")
    checked_space(space)
    folder = data_folder(NAME, root, ("AVVP", "AVVP/data"), _LISTS[split])
    events = {name: list(_events(folder / file)) for name, file in _ANNOTATIONS.items()}
    classes = tuple(sorted({event for each in events.values() for _, event, _, _ in each}))
    clips = [row["filename"] for row in read_table(NAME, folder / _LISTS[split], ("filename",), "\t")]
    folders = {name: folder / name for name in _ANNOTATIONS}
    places, notes = complete_clips(NAME, folders, [clip[:_ID] for clip in clips])
    clips = [clips[place] for place in places]
    sequences = {name: read_clips(NAME, folders[name], [clip[:_ID] for clip in clips], space) for name in folders}
    step_labels = {name: _happens(each, clips, classes) for name, each in events.items()}
    labels = torch.stack(list(step_labels.values())).any(0).any(1).long()
    return ClipFeatures(NAME, batch_of(sequences, labels), step_labels, classes, tuple(clips), notes)


def _events(path: Path) -> Iterator[tuple[str, str, int, int]]:
    """The clip, name, first second and second after the last of each event in a list."""
    for number, row in enumerate(read_table(NAME, path, _COLUMNS, "\t"), 2):
        names, onsets, offsets = (row[column].split(",") for column in ("event_labels", "onset", "offset"))
        try:
            for name, onset, offset in zip(names, onsets, offsets, strict=True):
                yield row["filename"], name, int(onset), int(offset)
        except ValueError as error:
            raise ValueError(f"{NAME}: line {number} of {path} is damaged ({error}); fetch it again.") from error


def _happens(
    events: Sequence[tuple[str, str, int, int]], clips: Sequence[str], classes: Sequence[str]
) -> Bool[Tensor, "N T C"]:
    rows = {clip: row for row, clip in enumerate(clips)}
    happens = torch.zeros(len(clips), STEPS, len(classes), dtype=torch.bool)
    for clip, name, onset, offset in events:
        if clip in rows:
            happens[rows[clip], onset:offset, classes.index(name)] = True
    return happens
