"""Classifiers that judge what a model generates: one small network for each modality."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.evaluation.context import no_classes
from mmvae.labels import Classes, class_numbers
from mmvae.likelihoods import Categorical, Normal, as_likelihood
from mmvae.modality import Modality
from mmvae.networks import default_encoder
from mmvae.sources import Data, Source, as_source
from mmvae.storage import read_json, read_tensors, write_json, write_tensors

_PROBED = 2048
"""Data points from which the scale of a modality and the number of classes are read."""


@runtime_checkable
class Featured(Protocol):
    """A classifier that shows its penultimate layer."""

    def features(self, data: Tensor) -> Tensor:
        """``[N, F]``."""


@runtime_checkable
class Reads(Protocol):
    """A classifier that gives its logits and its penultimate layer together, for the work of one."""

    def read(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[N, classes]``, and the layer ``[N, F]``."""


@dataclass(frozen=True)
class Sizes:
    """What a classifier is built from.

    Attributes:
        shape: of one datum.
        num_categories: of integer codes; ``None`` for numbers.
        num_classes: to tell apart.
        width: of the penultimate layer.
    """

    shape: tuple[int, ...]
    num_categories: int | None
    num_classes: int
    width: int = 128


class Classifier(nn.Module):
    """Data of one modality to class logits: convolutions for images and for codes, otherwise an MLP.

    Args:
        built: its sizes.
    """

    def __init__(self, built: Sizes) -> None:
        super().__init__()
        self.built = built
        codes = built.num_categories
        encoder = default_encoder(built.shape, Normal() if codes is None else Categorical(codes))
        probe = torch.zeros(1, *built.shape, dtype=torch.float32 if codes is None else torch.int64)
        with torch.no_grad():
            inputs = encoder(probe).shape[1]
        self.register_buffer("loc", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.body = nn.Sequential(encoder, nn.Linear(inputs, built.width), nn.ReLU())
        self.head = nn.Linear(built.width, built.num_classes)

    loc: Tensor
    scale: Tensor

    def features(self, data: Tensor) -> Float[Tensor, "N F"]:
        """The penultimate layer."""
        if self.built.num_categories is None:
            return self.body((data.to(self.loc.dtype) - self.loc) / self.scale)
        return self.body(data)

    def read(self, data: Tensor) -> tuple[Float[Tensor, "N classes"], Float[Tensor, "N F"]]:
        """Logits, and the penultimate layer."""
        features = self.features(data)
        return self.head(features), features

    def forward(self, data: Tensor) -> Float[Tensor, "N classes"]:
        """Logits."""
        return self.read(data)[0]


@dataclass(frozen=True)
class _Training:
    steps: int
    batch_size: int
    learning_rate: float
    seed: int


@numbers_checked
def train_classifiers(
    data: Data,
    modalities: Sequence[Modality],
    *,
    steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
    num_classes: int | None = None,
    classes: Classes | None = None,
    device: torch.device | str = "cpu",
    cache: str | Path | None = None,
) -> dict[str, Classifier]:
    """A classifier for each modality that the data holds, trained on its labels.

    The classifiers do not depend on one another, nor on which of them are found in the cache.

    Args:
        data: labelled training data; classes are integers from 0 on, or names. Rows without a class are left out.
        modalities: which to train for, with the shapes and likelihoods of the model.
        steps: of Adam, with a learning rate that falls to zero along a half cosine.
        batch_size: data points of a step; each classifier learns from those that have its modality.
        learning_rate: at the start.
        seed: of the initial weights and the order of the data.
        num_classes: how many there are; by default one more than the largest label among 2048 data points.
        classes: names of the classes in the order of their numbers, where labels are names; by default those that occur
            among 2048 data points.
        device: to train on, and where the classifiers stay.
        cache: a folder in which trained classifiers are kept, by a hash of the data and of the settings.

    Returns:
        Classifiers in evaluation mode, by modality.

    Raises:
        ValueError: if the data has no labels that are classes.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import likelihoods
        >>> x = torch.eye(2).repeat(50, 1)
        >>> data = mmvae.Batch({"a": x}, labels=torch.arange(100) % 2)
        >>> judges = train_classifiers(data, [mmvae.Modality("a", (2,), likelihoods.Normal())], steps=50)
        >>> judges["a"](torch.eye(2)).argmax(-1)
        tensor([0, 1])
    """
    source, training = as_source(data), _Training(steps, batch_size, learning_rate, seed)
    probe = _probe(source)
    classes = probe.classes if classes is None else classes
    probe = probe.in_classes(classes)
    labels = class_numbers(probe.labels)
    if labels is None:
        raise ValueError(f"classifiers: the training data {no_classes(probe.labels)}.")
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    wanted = [each for each in modalities if each.name in probe.names and bool(probe.observed[each.name].any())]
    trained, keys, missing = {}, {}, {}
    again = source.batch(_evenly(len(source)))
    for modality in wanted:
        built = _sizes(modality, count)
        settings = {"built": {**asdict(built), "shape": list(built.shape)}, "training": asdict(training)}
        keys[modality.name] = _cache_key(settings, len(source), probe, again, modality.name)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            classifier = Classifier(built)
        found = None if cache is None else _read_cached(Path(cache), modality.name, keys[modality.name])
        if found is not None and _fits(classifier, found):
            classifier.load_state_dict(found)
        else:
            missing[modality.name] = _scaled(classifier, probe, modality.name).to(device)
        trained[modality.name] = classifier.to(device).eval()
    if missing:
        _fit(missing, source, training, torch.device(device), classes)
        for name, classifier in missing.items():
            if cache is not None:
                _write_cached(Path(cache), name, keys[name], classifier.state_dict())
    return trained


def _fit(
    classifiers: Mapping[str, nn.Module],
    source: Source,
    training: _Training,
    device: torch.device,
    classes: Classes | None,
) -> None:
    """Trains in place; every classifier has its own loss, so that they may share an optimiser."""
    for classifier in classifiers.values():
        classifier.train()
    parameters = [parameter for classifier in classifiers.values() for parameter in classifier.parameters()]
    optimiser = torch.optim.Adam(parameters, training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
    with torch.enable_grad():
        for rows in _orders(len(source), training):
            batch = source.batch(rows).in_classes(classes).to(device)
            optimiser.zero_grad()
            for loss in _losses(classifiers, batch):
                loss.backward()
            optimiser.step()
            schedule.step()
    for classifier in classifiers.values():
        classifier.eval()


def _losses(classifiers: Mapping[str, nn.Module], batch: Batch) -> Iterable[Tensor]:
    labels = class_numbers(batch.labels)
    if labels is None:  # none of these rows has a class
        return
    labels = labels.to(batch.device)
    for name, classifier in classifiers.items():
        if name in batch.names:
            seen = batch.observed[name] & (labels >= 0)
            if bool(seen.any()):
                logits = classifier(batch.data[name][seen])
                yield nn.functional.cross_entropy(logits, labels[seen])


def _orders(size: int, training: _Training) -> Iterable[Tensor]:
    """Rows of each step: the data in one random order after another."""
    generator = torch.Generator().manual_seed(training.seed)
    rest = torch.empty(0, dtype=torch.int64)
    for _ in range(training.steps):
        while len(rest) < min(training.batch_size, size):
            rest = torch.cat([rest, torch.randperm(size, generator=generator)])
        yield rest[: training.batch_size]
        rest = rest[training.batch_size :]


def _sizes(modality: Modality, num_classes: int) -> Sizes:
    likelihood = as_likelihood(modality.likelihood)
    categories = likelihood.num_categories if isinstance(likelihood, Categorical) else None
    return Sizes(tuple(modality.shape), categories, num_classes)


def _scaled(classifier: Classifier, probe: Batch, name: str) -> Classifier:
    """The classifier with the location and scale of the data it is to see."""
    if classifier.built.num_categories is None:
        seen = probe.data[name][probe.observed[name]].double()
        classifier.loc.fill_(float(seen.mean()))
        classifier.scale.fill_(max(float(seen.std(correction=0)), 1e-6))
    return classifier


def _evenly(size: int) -> Tensor:
    return torch.linspace(0, size - 1, min(size, _PROBED)).round().long()


def _probe(source: Source) -> Batch:
    return source.batch(_evenly(len(source)))


_FORMAT = 1
"""To be raised when classifiers or their training change, so that older files are not taken for the new."""


def _cache_key(settings: Mapping[str, Any], size: int, probe: Batch, again: Batch, name: str) -> dict[str, Any]:
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


def _read_cached(folder: Path, name: str, key: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The weights that are kept under a key; ``None`` if there are none, or the files are damaged."""
    path = _path(folder, name, key)
    try:
        return read_tensors(path)[0] if read_json(path.with_suffix(".json")) == key else None
    except (OSError, ValueError):
        return None  # trained again, and written anew


def _fits(classifier: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether weights are those of a classifier of this make."""
    own = classifier.state_dict()
    return own.keys() == state.keys() and all(state[name].shape == value.shape for name, value in own.items())


def _write_cached(folder: Path, name: str, key: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Keeps the weights of a trained classifier."""
    path = _path(folder, name, key)
    write_tensors(path, state)
    write_json(path.with_suffix(".json"), key)


def _path(folder: Path, name: str, key: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / f"classifier-{re.sub(r'[^A-Za-z0-9_-]', '_', name)}-{digest[:16]}.safetensors"
