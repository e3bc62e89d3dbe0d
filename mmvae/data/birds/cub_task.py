"""The birds of CUB-200-2011 and their captions, as two modalities."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from mmvae.choices import check_choice
from mmvae.data.birds.cub_files import CAPTIONS_PER_IMAGE, TEST_SPECIES, Bird, read_birds, read_captions, read_images
from mmvae.data.birds.cub_words import CaptionVocabulary
from mmvae.data.dataset import MultimodalDataset
from mmvae.data.digits.digit_tasks import Share
from mmvae.data.images import LabelledImages, data_root
from mmvae.seeds import stream

Split = Literal["official", "classes"]
"""By image, every class on both sides (``train_test_split.txt``); or by class, 150 against 50 others."""


def cub(
    root: Path | str | None = None,
    train: bool = True,
    *,
    split: Split = "official",
    vocabulary: CaptionVocabulary | None = None,
    captions_per_image: int = CAPTIONS_PER_IMAGE,
    crop: bool = False,
    share: Share = (0.0, 1.0),
    size: int | None = None,
    cache: Path | None = None,
) -> MultimodalDataset:
    """CUB-200-2011: ``"image"`` [3, 64, 64] and ``"text"`` (32 codes of words); the label is the class, 0 to 199.

    Every image is paired with each of its captions in turn, as in the published protocol, and kept once. The data
    points come in a random order that is always the same. Images are made 64 pixels wide and high whatever their
    sides, as in the published protocol.

    Files are looked for in the root and in ``CUB`` below it: ``CUB_200_2011/`` as its authors publish it; and captions
    as Reed et al. do, ``cvpr2016_cub/text_c10/<class>/<name>.txt`` (or ``text_c10`` alone), or else as MMVAE ships
    them (:func:`cub_captions`).

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        train: the training images, or the test images.
        split: ``"official"``, 5,994 images against 5,794 of the same 200 classes, so that a classifier of classes can
            be tested; or ``"classes"``, 8,855 images of 150 classes against 2,933 of 50 others, as MMVAE.
        vocabulary: by default that of the training captions, :func:`cub_vocabulary`.
        captions_per_image: of each image the first so many captions, 1 to 10.
        crop: cut out a square around the middle of the bird's bounding box first, with sides of 1.5 times the longer
            side of the box, as far as the picture goes: what is cut off is mostly background.
        share: the part of the images to use: ``(0, 0.9)`` to train on and ``(0.9, 1)`` to validate with share no image.
        size: at most so many data points; no more images are read than these need.
        cache: folder for the small images, since decoding takes a while.

    Raises:
        SourceNotFound: if a file is absent.
        ValueError: if a file is damaged, or an argument is out of its range.

    Source: Wah et al. 2011 (images), Reed et al. 2016 (captions), Shi et al. 2019 (MMVAE, the task).
    """
    if not 1 <= captions_per_image <= CAPTIONS_PER_IMAGE:
        raise ValueError(f"captions_per_image: expected 1 to {CAPTIONS_PER_IMAGE}, got {captions_per_image}.")
    if size is not None and size < 1:
        raise ValueError(f"size: expected at least 1 data point, got {size}.")
    root = data_root(root)
    folder, birds = read_birds(root)
    part = [bird for bird in birds if _trains(bird, split) is train]
    if vocabulary is None:
        vocabulary = cub_vocabulary(root, split=split)
    rows = _chosen(torch.tensor([bird.species for bird in part]), share)
    if size is not None:
        rows = rows[: math.ceil(size / captions_per_image)]
    chosen = [part[row] for row in rows.tolist()]
    captions = read_captions(root, birds, chosen)
    codes = [vocabulary.encode(caption) for ten in captions for caption in ten[:captions_per_image]]
    order = torch.randperm(len(codes), generator=stream(0, "cub", "pairs"))[:size]
    image_of_pair = order // captions_per_image
    return MultimodalDataset(
        {"image": read_images(folder, chosen, crop, cache), "text": torch.stack(codes)},
        {"image": image_of_pair, "text": order},
        torch.tensor([bird.species - 1 for bird in chosen])[image_of_pair],
        name="CUB-200-2011",
        sources_used={"image": "CUB-200-2011", "text": "captions of Reed et al. 2016"},
    )


def cub_vocabulary(
    root: Path | str | None = None, *, split: Split = "official", min_count: int = 3
) -> CaptionVocabulary:
    """The vocabulary of the training captions of CUB-200-2011.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        split: which images are for training, as in :func:`cub`.
        min_count: words that occur less often are unknown.

    Raises:
        SourceNotFound: if a file is absent.
        ValueError: if a file is damaged.
    """
    root = data_root(root)
    _, birds = read_birds(root)
    captions = read_captions(root, birds, [bird for bird in birds if _trains(bird, split)])
    return CaptionVocabulary.of((caption for ten in captions for caption in ten), min_count)


def _trains(bird: Bird, split: Split) -> bool:
    check_choice("split", split, get_args(Split))
    return bird.trains if split == "official" else bird.species not in TEST_SPECIES


def _chosen(classes: Int64[Tensor, "n"], share: Share) -> Int64[Tensor, "m"]:
    """The rows of a share of the images, in a random order that is always the same."""
    numbers = torch.arange(len(classes), dtype=torch.float32)  # in the place of images, which are not read yet
    part = LabelledImages(numbers.reshape(-1, 1, 1, 1), classes, "CUB-200-2011").share(*share)
    rows = part.images.flatten().long()
    return rows[torch.randperm(len(rows), generator=stream(0, "cub", "images"))]
