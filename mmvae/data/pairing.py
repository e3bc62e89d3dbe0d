"""Pairing by label: index tables that put base data of the same class side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from mmvae.data.dataset import MultimodalDataset
from mmvae.data.images import LabelledImages
from mmvae.data.rows import Rows, Sampler
from mmvae.seeds import derive_seed, stream


def pair_by_label(
    labels: Mapping[str, Int64[Tensor, "n"]], repeats: int = 1, seed: int = 0, limit_per_class: int = 10_000
) -> tuple[dict[str, Int64[Tensor, "N"]], Int64[Tensor, "N"]]:
    """Index tables in which every row points to base data of one class in all modalities, and the class of each row.

    Of each class the first n base data of every modality are used, n being the smallest count over the modalities, or
    the limit; they are paired by ``repeats`` random permutations, so that each of them occurs ``repeats`` times. A
    class that a modality lacks gives no rows. The rows come in random order.

    Args:
        labels: by modality, the class of each base datum. Neither the order of the modalities nor, for what one of
            them draws, the presence of others matters.
        repeats: random pairings.
        seed: of the permutations.
        limit_per_class: n at most.

    Returns:
        ``({name: base rows}, classes)``, with N the sum over the classes of ``repeats`` times n.

    Raises:
        ValueError: if no class occurs in all modalities, or a number is below 1.

    Source: Shi et al. 2019 (MMVAE) and Sutter et al. 2021 (MoPoE), MNIST-SVHN(-Text).
    """
    if not labels:
        raise ValueError("pairing: name the labels of at least one modality.")
    if repeats < 1 or limit_per_class < 1:
        raise ValueError(f"pairing: repeats and limit_per_class are at least 1, got {repeats} and {limit_per_class}.")
    sizes = _class_sizes(labels, limit_per_class)
    index: dict[str, Tensor] = {}
    for name, classes in labels.items():
        generator = stream(seed, "pairing", name)
        parts: list[Tensor] = []
        for label, size in sizes.items():
            members = (classes == label).nonzero().flatten()[:size]
            parts += [members[torch.randperm(size, generator=generator)] for _ in range(repeats)]
        index[name] = torch.cat(parts)
    paired = torch.cat([torch.full((repeats * size,), label) for label, size in sizes.items()])
    order = torch.randperm(len(paired), generator=stream(seed, "order"))
    return {name: table[order] for name, table in index.items()}, paired[order]


def pair_images(
    images: Mapping[str, LabelledImages],
    *,
    samplers: Mapping[str, Sampler] | None = None,
    repeats: int = 1,
    seed: int = 0,
    size: int | None = None,
    limit_per_class: int = 10_000,
    name: str | None = None,
) -> MultimodalDataset:
    """A dataset of images paired by label, with modalities beside them that are drawn from the label.

    Args:
        images: by modality.
        samplers: by modality, such as ``{"text": DigitWords()}``.
        repeats: random pairings; images are kept once, however many there are.
        seed: of the pairing and of the samplers.
        size: at most so many data points; as few pairings as these need, so that they show as many images as may be.
        limit_per_class: images of a class that are used at most.
        name: how tables call the dataset; the names of its sources, joined, by default.

    Raises:
        ValueError: as :func:`pair_by_label`.
    """
    labels = {modality: source.labels for modality, source in images.items()}
    if size is not None:
        num_classes = len(torch.cat(list(labels.values())).unique())
        limit_per_class = min(limit_per_class, class_limit(size, num_classes))
        repeats = min(repeats, math.ceil(size / sum(_class_sizes(labels, limit_per_class).values())))
    index, classes = pair_by_label(labels, repeats, seed, limit_per_class)
    names = {modality: source.name for modality, source in images.items()}
    sources: dict[str, Tensor | Rows | Sampler] = {modality: source.images for modality, source in images.items()}
    for modality, sampler in (samplers or {}).items():
        sources[modality] = sampler
        names[modality] = sampler.name
    rows_kept = slice(None, size)
    return MultimodalDataset(
        sources,
        {modality: table[rows_kept] for modality, table in index.items()},
        classes[rows_kept],
        name=name or "-".join(names.values()),
        sources_used=names,
        seed=derive_seed(seed, "dataset"),
    )


def class_limit(size: int, num_classes: int) -> int:
    """Images of each class that ``size`` data points need, if no image occurs twice."""
    return math.ceil(size / num_classes)


def _class_sizes(labels: Mapping[str, Int64[Tensor, "n"]], limit: int) -> dict[int, int]:
    """How many base data of each class one pairing uses, for the classes that occur in all modalities."""
    counts = []
    for rows in labels.values():
        classes, numbers = rows.unique(return_counts=True)
        counts.append(dict(zip(classes.tolist(), numbers.tolist(), strict=True)))
    shared = sorted(set(counts[0]).intersection(*counts[1:]))
    if not shared:
        raise ValueError(f"pairing: no class occurs in all of {', '.join(map(repr, labels))}.")
    return {label: min(limit, *(count[label] for count in counts)) for label in shared}
