"""The tasks: data for pretraining, for heads and for tests, and how models read it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

import mmvae
from mmvae import Batch, Modality, likelihoods
from mmvae.data import ALPHABET, mnist_svhn_text, mnist_usps_text, paired_sequences
from mmvae.nn import CodeSteps, MLPDecoder, MLPEncoder, PatchSteps, TextDecoder, TextEncoder

Task = Literal["street", "usps", "sequences"]
HIDDEN = (256,)


@dataclass(frozen=True)
class Size:
    """How many rows each part of the data has."""

    pretraining: int
    heads: int
    test: int


@dataclass(frozen=True)
class Splits:
    """Data with labels, which pretraining does not look at; no image is in two of them.

    Attributes:
        pretraining: what models learn from.
        heads: what classifiers of latents learn from.
        validation: what their settings, and dimensions of codebooks, are chosen on.
        test: what is reported.
        events: by part, the event of each step ``[N, T]``, where the data has steps with a ground truth.
        notes: on the data.
    """

    pretraining: Batch
    heads: Batch
    validation: Batch
    test: Batch
    events: Mapping[str, torch.Tensor]
    notes: tuple[str, ...]

    def without_steps(self) -> Splits:
        """The same data without masks of steps: zeros stand where there is none."""
        return replace(
            self,
            pretraining=whole(self.pretraining),
            heads=whole(self.heads),
            validation=whole(self.validation),
            test=whole(self.test),
        )


def whole(batch: Batch) -> Batch:
    """A batch without masks of steps."""
    return Batch(batch.data, batch.observed, batch.labels)


FINE: dict[Task, tuple[str, ...]] = {
    "street": ("mnist", "svhn"),
    "usps": ("mnist", "usps"),
    "sequences": ("audio", "video"),
}
WIDTHS = {"audio": 32, "video": 48, "text": 24}
"""Of the vectors of the sequences."""

MNIST = PatchSteps((1, 28, 28), (8, 16))
STEPS: dict[Task, dict[str, Any]] = {
    "street": {"mnist": MNIST, "svhn": PatchSteps((3, 32, 32), (8, 16)), "text": CodeSteps(len(ALPHABET))},
    "usps": {"mnist": MNIST, "usps": PatchSteps((1, 16, 16), (4, 8)), "text": CodeSteps(len(ALPHABET))},
    "sequences": WIDTHS,
}
"""Eight patches, as there are eight letters; ten steps of features."""


def read(task: Task, size: Size, folder: Path | None, cache: Path, seed: int) -> Splits:
    """The data of a task."""
    return sequences(size, seed) if task == "sequences" else digits(task, size, folder, cache, seed)


def digits(task: Task, size: Size, folder: Path | None, cache: Path, seed: int) -> Splits:
    """Digits paired by class, so that the pairing itself carries it: a caveat of this benchmark."""
    make = mnist_usps_text if task == "usps" else mnist_svhn_text
    notes: dict[str, None] = {}

    def part(train: bool, share: tuple[float, float], rows: int) -> Batch:
        dataset = make(folder, train, repeats=2, seed=seed, size=rows, share=share, cache=cache)
        notes.update(dict.fromkeys(dataset.notes))
        return dataset.batch(torch.arange(len(dataset)))

    pretraining = part(True, (0.0, 0.7), size.pretraining)
    heads, validation = part(True, (0.7, 0.9), size.heads), part(True, (0.9, 1.0), size.heads // 2)
    return Splits(pretraining, heads, validation, part(False, (0.0, 1.0), size.test), {}, tuple(notes))


def sequences(size: Size, seed: int) -> Splits:
    """Synthetic clips with events that audio and video share step by step, and a text that names them."""
    ends = {"train": size.pretraining + size.heads, "validation": size.heads // 2, "test": size.test}
    parts = {split: paired_sequences(rows, widths=WIDTHS, seed=seed, split=split) for split, rows in ends.items()}  # type: ignore[arg-type]
    train, events = parts["train"], {split: part.events for split, part in parts.items()}
    events["heads"] = train.events[size.pretraining :]
    rows = torch.arange(ends["train"])
    pretraining, heads = train.batch[rows[: size.pretraining]], train.batch[rows[size.pretraining :]]
    return Splits(pretraining, heads, parts["validation"].batch, parts["test"].batch, events, ())


def modalities(task: Task, test: Batch) -> list[Modality]:
    """What a VAE makes of the task: small networks."""
    return [modality(name, tuple(value.shape[1:])) for name, value in test.data.items()]


def modality(name: str, shape: tuple[int, ...]) -> Modality:
    """Letters under a categorical likelihood, images under a Laplace, features under a Normal."""
    if name == "text" and len(shape) == 1:
        return Modality(name, shape, likelihoods.Categorical(len(ALPHABET)), TextEncoder, TextDecoder)
    likelihood = likelihoods.Laplace(0.75) if len(shape) == 3 else likelihoods.Normal()
    encoder = functools.partial(MLPEncoder, shape, hidden=HIDDEN)
    return Modality(name, shape, likelihood, encoder, functools.partial(MLPDecoder, shape=shape, hidden=HIDDEN))


def judges(task: Task, splits: Splits, steps: int, cache: Path) -> Mapping[str, Any] | None:
    """Classifiers that say which digit a generated datum shows; none for sequences."""
    if task == "sequences":
        return None
    everything = Batch.cat([splits.pretraining, splits.heads])
    return mmvae.evaluation.train_classifiers(everything, modalities(task, splits.test), steps=steps, cache=cache)
