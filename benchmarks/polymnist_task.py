"""Data of PolyMNIST's form, and models for it: what both libraries are trained on, timed on and scored by."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from protocol import IMAGE_SCALE, RECIPES, Case

from mmvae import Batch, Modality, data, likelihoods
from mmvae.networks.conv import ConvDecoder, ConvEncoder
from mmvae.vaes.base import MultimodalVAE

SHAPE = (3, 28, 28)


@dataclass(frozen=True)
class Task:
    """Images of digits cut into photographs; the modalities share the digit and nothing else.

    Attributes:
        train: rows in memory, with labels.
        test: of digits that ``train`` does not hold.
        source: what the images are.
        width: channels of the networks' first layer.
    """

    train: Batch
    test: Batch
    source: str
    width: int

    @classmethod
    def read(
        cls, modalities: int, train_rows: int, test_rows: int, width: int, root: Path | None, cache: Path | None
    ) -> Task:
        """The first modalities of PolyMNIST, or of what is made by its recipe where its files are absent."""
        parts, source = {}, ""
        for train, rows in ((True, train_rows), (False, test_rows)):
            dataset = data.polymnist_or_form(root, train, size=rows, cache=cache)
            names = [f"m{place}" for place in range(modalities)]
            parts[train] = dataset.batch(torch.arange(len(dataset))).restrict(names)
            source = dataset.name
        return cls(parts[True], parts[False], source, width)

    def modalities(self) -> list[Modality]:
        """All with networks of the same kind, and a Laplace likelihood."""
        return [
            Modality(
                name,
                SHAPE,
                likelihoods.Laplace(IMAGE_SCALE),
                functools.partial(ConvEncoder, SHAPE, self.width),
                lambda latent_dim: ConvDecoder(latent_dim, SHAPE, self.width),
            )
            for name in self.train.names
        ]

    def make_model(self, case: Case, seed: int = 0) -> MultimodalVAE:
        """This library's model, with weights that the seed decides."""
        torch.manual_seed(seed)
        return RECIPES[case](self.modalities())
