"""Writes small data sets of features of clips, in the layouts in which they are published."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

STEPS = 10
AUDIO, VIDEO, SPACE, TEXT = 5, 6, 2, 7
"""Widths of features, and the sides of a picture."""
EVENTS = ("Bark", "Frying_(food)", "Singing")


def audio(kind: int, random: np.random.Generator, steps: int = STEPS) -> np.ndarray:
    """``[steps, 5]``: what a kind of event sounds like, and noise."""
    return (3.0 * np.eye(AUDIO)[kind] + 0.1 * random.normal(size=(steps, AUDIO))).astype(np.float32)


def video(kind: int, random: np.random.Generator) -> np.ndarray:
    """``[10, 2, 2, 6]``: what it looks like, and noise, in each place."""
    return (3.0 * np.eye(VIDEO)[-1 - kind] + 0.1 * random.normal(size=(STEPS, SPACE, SPACE, VIDEO))).astype(np.float32)


def save(path: Path, values: np.ndarray) -> None:
    """An .npy file, in a new folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str) -> None:
    """A list with a line of headings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerows([columns, *rows])


def write_vggsound_avel(root: Path, per_class: int = 5, *, labels: bool = False) -> None:
    """Clips ``clip_<class><number>``: of each class the last two are for validation and test."""
    random = np.random.default_rng(0)
    rows = []
    for kind, category in enumerate(("dog barking", "frying, sizzling", "singing")):
        save(root / "text" / f"{category}.npy", random.normal(size=(3 + 6 * kind, TEXT)))
        for number in range(per_class):
            clip = f"clip_{kind}{number}"
            part = {per_class - 2: "val", per_class - 1: "test"}.get(number, "train")
            rows.append((category, clip, part))
            save(root / "audio" / f"{clip}.npy", audio(kind, random))
            save(root / "video" / f"{clip}.npy", video(kind, random))
            if labels:
                save(root / "label" / f"{clip}.npy", (np.arange(STEPS) >= number).astype(np.float64))
    table(root / "vggsound-avel40k.csv", ("category", "video_id", "split"), rows, ",")


def write_ave(root: Path, clips: int = 18) -> None:
    """Clip n has event n mod 3, from second n mod 4 on; every third clip is for validation, every third for test."""
    import h5py

    random = np.random.default_rng(1)
    root.mkdir(parents=True, exist_ok=True)
    labels = np.zeros((clips, STEPS, len(EVENTS) + 1))
    for clip in range(clips):
        labels[clip, clip % 4 :, clip % 3] = 1
        labels[clip, : clip % 4, -1] = 1
    arrays = {
        "audio_feature.h5": np.stack([audio(clip % 3, random) for clip in range(clips)]),
        "visual_feature.h5": np.stack([video(clip % 3, random) for clip in range(clips)]).astype(np.float64),
        "labels.h5": labels,
    }
    for file, values in arrays.items():
        with h5py.File(root / file, "w") as h5:
            h5["avadataset"] = values
    order = np.random.default_rng(2).permutation(clips)
    for place, part in enumerate(("train", "val", "test")):
        with h5py.File(root / f"{part}_order.h5", "w") as h5:
            h5["order"] = order[order // 3 % 3 == place]


def write_avvp(root: Path, clips: int = 12) -> None:
    """Clip n has event n mod 3, heard in seconds 0 to 4 and seen in 2 to 6; the first half is for validation."""
    random = np.random.default_rng(3)
    names = [f"{clip:011d}_30_40" for clip in range(clips)]
    for clip, name in enumerate(names):
        sounds, pictures = audio(clip % 3, random), video(clip % 3, random)
        sounds[5:] = pictures[:2] = pictures[7:] = 0
        save(root / "audio" / f"{name[:11]}.npy", sounds)
        save(root / "video" / f"{name[:11]}.npy", pictures)
    columns = ("filename", "onset", "offset", "event_labels")
    for file, onset, offset in (("AVVP_eval_audio.csv", 0, 5), ("AVVP_eval_visual.csv", 2, 7)):
        rows = [(name, onset, offset, EVENTS[clip % 3]) for clip, name in enumerate(names)]
        table(root / file, columns, rows, "\t")
    for part, chosen in (("val", names[: clips // 2]), ("test", names[clips // 2 :])):
        table(root / f"AVVP_{part}_pd.csv", ("filename", "event_labels"), [(name, "Bark") for name in chosen], "\t")
