"""Images with texts and labels: what the readers of data sets for classification return."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from mmvae.data.dataset import MultimodalDataset
from mmvae.data.image_text.image_files import Fit, ImageFiles, Normalisation
from mmvae.data.image_text.tokenizer import Tokenizer
from mmvae.data.images import LabelledImages
from mmvae.data.missingness import Missingness


@dataclass(frozen=True, eq=False)
class ImageText:
    """N images with their texts and labels; the images stay in their files.

    Attributes:
        name: how tables and reports call the data set.
        images: the file of each data point.
        texts: of each data point.
        labels: int64, ``[N]`` with one class each, or ``[N, C]`` of 0 and 1 with any number of labels each.
        classes: the names of the C classes.
        groups: int64 ``[N]``, from 0 on: what each data point is of (several plots of one film, with one poster).
            Whole groups are kept together, and go missing together.
        notes: what a report must say about the data, a line each.

    Raises:
        ValueError: for no data, unequal numbers, or labels that are none of the classes.
    """

    name: str
    images: tuple[Path, ...]
    texts: tuple[str, ...]
    labels: Tensor
    classes: tuple[str, ...]
    groups: Tensor
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sizes = {key: len(getattr(self, key)) for key in ("images", "texts", "labels", "groups")}
        if len(set(sizes.values())) > 1 or not len(self.images):
            raise ValueError(f"{self.name}: expected as many of each, and at least one, got {sizes}.")
        low, high = (0, 1) if self.task == "multi-label" else (0, len(self.classes) - 1)
        fits = self.labels.ndim == 1 or self.labels.shape[1:] == (len(self.classes),)
        if not fits or int(self.labels.min()) < low or int(self.labels.max()) > high:
            raise ValueError(
                f"{self.name}: expected labels [N] in 0..{len(self.classes) - 1}, or [N, {len(self.classes)}] of 0 and "
                f"1, got shape {tuple(self.labels.shape)} with values in {int(self.labels.min())}.."
                f"{int(self.labels.max())}."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def task(self) -> Literal["single-label", "multi-label"]:
        """One class each, or any number of labels."""
        return "single-label" if self.labels.ndim == 1 else "multi-label"

    @property
    def num_groups(self) -> int:
        """How many rows a table of what is missing has: one for each group."""
        return int(self.groups.max()) + 1

    def masks(self, table: Missingness) -> dict[str, Bool[Tensor, "N"]]:
        """What a table with a row for each group leaves of each data point.

        Raises:
            ValueError: for a table of another size.
        """
        if len(table) != self.num_groups:
            raise ValueError(
                f"{self.name}: a table of {len(table)} rows, but {self.num_groups} are needed, one for each group; "
                f"draw it with rows=data.num_groups."
            )
        return table.at(self.groups)

    def subset(self, rows: Int64[Tensor, "n"]) -> ImageText:
        """The chosen data points, in the order of ``rows``; their groups are numbered anew."""
        chosen = rows.tolist()
        return replace(
            self,
            images=tuple(self.images[row] for row in chosen),
            texts=tuple(self.texts[row] for row in chosen),
            labels=self.labels[rows],
            groups=_numbered(self.groups[rows]),
        )

    def share(self, start: float, stop: float, seed: int = 0) -> ImageText:
        """The part between two fractions of a shuffled deck, in its stored order.

        With one ``seed``, ``share(0, 0.9)`` and ``share(0.9, 1)`` are disjoint and together everything. Where every
        data point is a group by itself and has one class, each class is cut by itself, so that the classes keep their
        proportions; elsewhere whole groups are drawn.

        Raises:
            ValueError: unless 0 <= start < stop <= 1, and if nothing is left between the two.
        """
        numbers = torch.arange(len(self), dtype=torch.float32)  # in the place of images, which are not looked at
        alone = self.num_groups == len(self) and self.task == "single-label"
        deck = LabelledImages(
            numbers.reshape(-1, 1, 1, 1),
            self.labels if alone else torch.zeros(len(self), dtype=torch.int64),
            self.name,
            groups=None if alone else self.groups,
        )
        return self.subset(deck.share(start, stop, seed).images.flatten().long())

    def dataset(
        self,
        tokenizer: Tokenizer,
        size: int = 224,
        *,
        normalisation: Normalisation = "clip",
        fit: Fit = "crop",
        keep: bool = False,
    ) -> MultimodalDataset:
        """The data as models see them: ``"image"`` float32 [3, size, size], ``"text"`` int64 [T], and labels.

        Images are decoded when they are asked for, and texts now. A group's image is decoded, and kept, once.

        Args:
            tokenizer: of the texts.
            size: of the images.
            normalisation: of the colours, as the image encoder expects it.
            fit: cut out the middle of a picture, or squeeze all of it into a square.
            keep: keep decoded images in memory.

        Raises:
            ValueError: by the tokenizer, and for what :class:`~mmvae.data.ImageFiles` refuses.
        """
        files = {path: place for place, path in enumerate(dict.fromkeys(self.images))}
        return MultimodalDataset(
            {
                "image": ImageFiles(tuple(files), size, normalisation=normalisation, fit=fit, keep=keep),
                "text": tokenizer(self.texts),
            },
            {"image": torch.tensor([files[path] for path in self.images])},
            self.labels,
            name=self.name,
            notes=self.notes,
        )


def _numbered(groups: Tensor) -> Tensor:
    """The groups that occur, numbered from 0 on."""
    return groups.unique(return_inverse=True)[1]
