"""The digit tasks of the literature, assembled: from original files where they are, from rendered digits elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from mmvae.data.dataset import MultimodalDataset
from mmvae.data.digits import digit_files
from mmvae.data.digits.digit_words import DigitWords
from mmvae.data.digits.polymnist import polymnist, polymnist_form
from mmvae.data.digits.rendered import Style, rendered_digits
from mmvae.data.images import LabelledImages, SourceNotFound, data_root
from mmvae.data.pairing import class_limit, pair_images

Share = tuple[float, float]
"""Two fractions of the shuffled images of a source, between which they are used."""

LIMIT_PER_CLASS = 10_000
"""Images of a class that the MNIST-SVHN-Text protocol uses at most."""


@dataclass(frozen=True)
class _Part:
    """Which part of a task is wanted: what readers and renderers need to know."""

    train: bool
    share: Share
    size: int | None
    cache: Path | None

    @property
    def limit(self) -> int:
        """Images of a class that are of use."""
        return LIMIT_PER_CLASS if self.size is None else min(LIMIT_PER_CLASS, class_limit(self.size, 10))

    def render(self, labels: Int64[Tensor, "n"], style: Style, series: int = 0) -> UInt8[Tensor, "n C H W"]:
        """Rendered digits, of a seed that no other part and no other series has: so parts share no image."""
        part = 2 * round(1000 * self.share[0]) + (0 if self.train else 1)
        return rendered_digits(labels, style, seed=part + 2002 * series, cache=self.cache)

    def labels(self) -> Int64[Tensor, "n"]:
        """Of a rendered set as large as MNIST, or as is of use."""
        fraction = self.share[1] - self.share[0]
        per_class = min(self.limit, round(fraction * (6000 if self.train else 1000)))
        return torch.arange(10).repeat(per_class)


def mnist_svhn_text(
    root: Path | str | None = None,
    train: bool = True,
    *,
    repeats: int = 20,
    seed: int = 0,
    size: int | None = None,
    share: Share = (0.0, 1.0),
    download: bool = False,
    cache: Path | None = None,
) -> MultimodalDataset:
    """MNIST-SVHN-Text: ``"mnist"`` [1, 28, 28], ``"svhn"`` [3, 32, 32] and ``"text"`` (8 codes in 0..70).

    Images are paired by label, ``repeats`` times; the digit word is drawn anew at each access. Where the files of
    MNIST or of SVHN are absent, rendered digits stand for them: then the dataset's ``name`` and ``sources_used`` say
    so, and ``notes`` say what was looked for, and where.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        train: from the training images, or from the test images. They share no image, rendered or not.
        repeats: random pairings of the images.
        seed: of the pairing and of the words, not of the images.
        size: at most so many data points; no more images are rendered than these need.
        share: the part of the images to use: ``(0, 0.9)`` to train on and ``(0.9, 1)`` to validate with share no
            image, which no split of the pairs can promise.
        download: lets torchvision fetch absent files first.
        cache: folder for rendered digits, which take a while.

    Raises:
        ValueError: if a file is there but damaged, or there is no folder to download to.

    Source: Sutter et al. 2021 (MoPoE), after Shi et al. 2019 (MMVAE).
    """
    folder, part = data_root(root), _Part(train, share, size, cache)
    digits, notes = _mnist(folder, part, download)

    def street() -> LabelledImages:
        labels = _first_of_each_class(digits.labels, part.limit)
        return LabelledImages(part.render(labels, "street"), labels, "rendered street digits")

    numbers, more = _or_rendered(lambda: digit_files.svhn(folder, train, download).share(*share), street)
    images = {"mnist": digits, "svhn": numbers}
    return _with_words(images, notes + more, repeats, seed, size)


def mnist_usps_text(
    root: Path | str | None = None,
    train: bool = True,
    *,
    repeats: int = 20,
    seed: int = 0,
    size: int | None = None,
    share: Share = (0.0, 1.0),
    download: bool = False,
    cache: Path | None = None,
) -> MultimodalDataset:
    """MNIST-USPS-Text: ``"mnist"`` [1, 28, 28], ``"usps"`` [1, 16, 16] and ``"text"`` (8 codes in 0..70).

    The task of :func:`mnist_svhn_text` with the handwritten digits of the US Postal Service in the place of SVHN;
    arguments, notes and errors are the same, but that only MNIST can be downloaded.
    """
    folder, part = data_root(root), _Part(train, share, size, cache)
    digits, notes = _mnist(folder, part, download)

    def small() -> LabelledImages:
        labels = _first_of_each_class(digits.labels, part.limit)
        images = part.render(labels, "plain", series=1).float()  # of another series than those in the place of MNIST
        images = torch.nn.functional.interpolate(images, size=(16, 16), mode="area").round().to(torch.uint8)
        return LabelledImages(images, labels, "rendered small digits")

    numbers, more = _or_rendered(lambda: digit_files.usps(folder, train).share(*share), small)
    images = {"mnist": digits, "usps": numbers}
    return _with_words(images, notes + more, repeats, seed, size)


def polymnist_or_form(
    root: Path | str | None = None,
    train: bool = True,
    *,
    seed: int = 0,
    size: int | None = None,
    download: bool = False,
    cache: Path | None = None,
) -> MultimodalDataset:
    """PolyMNIST where its folders are, else a set of the same form from MNIST (or rendered digits).

    The dataset's ``name`` and ``notes`` say which; see :func:`mmvae.data.polymnist` and
    :func:`mmvae.data.polymnist_form`. The arguments are those of :func:`mnist_svhn_text`.

    Raises:
        ValueError: if a file is there but damaged, or there is no folder to download to.
    """
    folder = data_root(root)
    try:
        return polymnist(folder, train, size)
    except SourceNotFound as error:
        missing = str(error)
    digits, notes = _mnist(folder, _Part(train, (0.0, 1.0), size, cache), download)
    dataset = polymnist_form(digits, seed=seed, size=size)
    dataset.notes = (f"{missing} Used instead: {dataset.name}.", *notes)
    return dataset


def _mnist(folder: Path | None, part: _Part, download: bool) -> tuple[LabelledImages, tuple[str, ...]]:
    def plain() -> LabelledImages:
        labels = part.labels()
        return LabelledImages(part.render(labels, "plain"), labels, "rendered plain digits")

    return _or_rendered(lambda: digit_files.mnist(folder, part.train, download).share(*part.share), plain)


def _or_rendered(
    read: Callable[[], LabelledImages], render: Callable[[], LabelledImages]
) -> tuple[LabelledImages, tuple[str, ...]]:
    """The original images, or rendered ones and the line that says so."""
    try:
        return read(), ()
    except SourceNotFound as error:
        missing = str(error)
    images = render()
    return images, (f"{missing} Used instead: {images.name}.",)


def _with_words(
    images: dict[str, LabelledImages], notes: tuple[str, ...], repeats: int, seed: int, size: int | None
) -> MultimodalDataset:
    name = "-".join([*(source.name for source in images.values()), "Text"])
    dataset = pair_images(
        images,
        samplers={"text": DigitWords()},
        repeats=repeats,
        seed=seed,
        size=size,
        limit_per_class=LIMIT_PER_CLASS,
        name=name,
    )
    dataset.notes = notes
    return dataset


def _first_of_each_class(labels: Int64[Tensor, "n"], limit: int) -> Int64[Tensor, "m"]:
    """The labels of the first ``limit`` images of each class."""
    rows = torch.cat([(labels == label).nonzero().flatten()[:limit] for label in labels.unique()])
    return labels[rows.sort().values]
