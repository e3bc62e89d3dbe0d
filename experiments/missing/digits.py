"""The data: digits in two or three noisy modalities, any of which alone leaves doubt."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mmvae import Batch
from mmvae.data import ALPHABET, Noisy, add_noise, mask_tokens, mnist_svhn_text, mnist_usps_text

Task = Literal["street", "usps", "three"]
SPACE = ALPHABET.index(" ")
MODALITIES: dict[Task, tuple[str, ...]] = {
    "street": ("svhn", "text"),
    "usps": ("mnist", "usps"),
    "three": ("mnist", "svhn", "text"),
}

IMAGE_NOISE = {"mnist": 0.5, "svhn": 0.05, "usps": 0.4}
"""Standard deviation of the noise on images in [0, 1], in training as in testing."""
TEXT_NOISE = 0.55
"""The share of letters of the digit word that are blanked."""
MORE_IMAGE_NOISE = (0.0, 0.1, 0.2, 0.5, 1.0)
MORE_TEXT_NOISE = (0.0, 0.1, 0.2, 0.3, 0.5)
"""What is added to that in testing."""


@dataclass(frozen=True)
class Size:
    """How many rows each part of the data has."""

    pretraining: int
    train: int
    test: int


@dataclass(frozen=True)
class Splits:
    """Noisy data with labels; no image is in two of them."""

    pretraining: Batch
    train: Batch
    validation: Batch
    test: Batch
    notes: tuple[str, ...]


def read(task: Task, size: Size, folder: Path | None, cache: Path, seed: int) -> Splits:
    """The task's data, its noise drawn once."""
    make = mnist_usps_text if task == "usps" else mnist_svhn_text
    notes: dict[str, None] = {}

    def part(train: bool, share: tuple[float, float], rows: int, number: int) -> Batch:
        dataset = make(folder, train, repeats=3, seed=seed, size=rows, share=share, cache=cache)
        notes.update(dict.fromkeys(dataset.notes))
        everything = torch.arange(len(dataset))
        clean = dataset.batch(everything).restrict(MODALITIES[task])
        return Noisy(clean, noise(clean), seed=10 * seed + number).batch(everything)

    return Splits(
        part(True, (0.0, 0.5), size.pretraining, 0),
        part(True, (0.5, 0.9), size.train, 1),
        part(True, (0.9, 1.0), size.test // 4, 2),
        part(False, (0.0, 1.0), size.test, 3),
        tuple(notes),
    )


def noise(batch: Batch) -> dict[str, Any]:
    """The noise of the task."""
    blank = functools.partial(mask_tokens, share=TEXT_NOISE, mask=SPACE)
    return {
        name: blank if name == "text" else functools.partial(add_noise, sigma=IMAGE_NOISE[name]) for name in batch.names
    }
