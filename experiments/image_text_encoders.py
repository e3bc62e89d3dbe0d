"""Encoders of images and texts: from local folders of Hugging Face, or small ones of the library's own, pretrained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import mmvae
from mmvae import models
from mmvae.data import CaptionVocabulary, ImageText, MultimodalDataset, Tokenizer
from mmvae.data.image_text.image_files import Normalisation
from mmvae.nn import TextTransformer, TokenEncoder, ViT, huggingface_encoder

Pretraining = Literal["labels", "reconstruction"]
"""Of the library's own encoders: on the labels, from one modality alone, or without labels, on what is hidden."""

OWN_SIZE, OWN_LENGTH = 64, 32
_MIDDLES: dict[Normalisation, float] = {"clip": 0.4815, "imagenet": 0.485, "half": 0.5}
"""Of red, by which a folder's mean colour tells how its images are normalised."""


@dataclass(frozen=True)
class Encoders:
    """Encoders, and in which form they want their data.

    Attributes:
        modules: by modality.
        tokenizer: of the text encoder.
        size: of images.
        normalisation: of their colours.
    """

    modules: dict[str, TokenEncoder]
    tokenizer: Tokenizer
    size: int
    normalisation: Normalisation

    def see(self, data: ImageText, keep: bool) -> MultimodalDataset:
        """The data as the encoders want it."""
        return data.dataset(self.tokenizer, self.size, normalisation=self.normalisation, keep=keep)


def from_folders(folders: tuple[Path, ...], length: int) -> Encoders:
    """Pretrained encoders: one folder of CLIP, or one of an image encoder and one of a text encoder.

    Args:
        folders: as ``save_pretrained`` writes them, that of the text with its tokenizer.
        length: of texts in tokens, unless the text encoder takes fewer.

    Raises:
        ValueError: for another number of folders, or folders that do not hold this.
    """
    if len(folders) not in (1, 2):
        raise ValueError(
            f"encoders: expected a folder of CLIP, or one for images and one for texts, got {len(folders)}."
        )
    image_folder, text_folder = folders[0], folders[-1]
    parts: tuple[str | None, str | None] = ("vision_model", "text_model") if len(folders) == 1 else (None, None)
    image = huggingface_encoder(image_folder, part=parts[0])
    text = huggingface_encoder(text_folder, part=parts[1])
    if image.dtype == torch.int64 or text.dtype != torch.int64 or image.shape is None:
        raise ValueError("encoders: the first folder should hold an encoder of images, and the second one of texts.")
    limit = getattr(text.module.config, "max_position_embeddings", length)
    return Encoders(
        {"image": image, "text": text},
        Tokenizer.huggingface(text_folder, min(length, limit)),
        image.shape[-1],
        normalisation_of(image_folder),
    )


def normalisation_of(folder: Path) -> Normalisation:
    """How a folder says that its images are normalised; by half where it says nothing.

    Raises:
        ValueError: if it says something else than this library knows.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return "half"
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "image_mean" not in facts:
        return "half"
    red = float(facts["image_mean"][0])
    nearest = min(_MIDDLES, key=lambda name: abs(_MIDDLES[name] - red))
    if abs(_MIDDLES[nearest] - red) > 1e-3:
        raise ValueError(f"encoders: {path} has a mean colour {facts['image_mean']} that is none of {list(_MIDDLES)}.")
    return nearest


def fresh(texts: tuple[str, ...], size: int | None, length: int | None, vocabulary_path: Path) -> Encoders:
    """The library's own encoders, not trained yet, and the words of the training texts, which are kept in a file."""
    vocabulary = CaptionVocabulary.of(texts, length=length or OWN_LENGTH)
    vocabulary.save(vocabulary_path)
    side = size or OWN_SIZE
    modules: dict[str, TokenEncoder] = {
        "image": ViT((3, side, side), patch=side // 8),
        "text": TextTransformer(len(vocabulary), vocabulary.length, padding=0),
    }
    return Encoders(modules, Tokenizer.of_words(vocabulary), side, "none")


def pretrained(
    encoders: Encoders,
    train: MultimodalDataset,
    validation: MultimodalDataset,
    classify: Callable[[dict[str, nn.Module]], models.MultimodalClassifier],
    pretraining: Pretraining,
    **settings: Any,
) -> Encoders:
    """The library's own encoders, each trained on the rows that have its modality.

    Args:
        encoders: fresh ones.
        train: data, some of which may be missing.
        validation: as well.
        classify: a classifier over encoders that learn, for ``"labels"``.
        pretraining: what for.
        **settings: of ``fit``.
    """
    modules = {}
    for name, module in encoders.modules.items():
        model: Any = (
            classify({name: module}) if pretraining == "labels" else models.MaskedReconstruction({name: module})
        )
        mmvae.fit(model, alone(train, name), validation=alone(validation, name), **settings)
        modules[name] = model.cpu().encoders[name]
    return Encoders(modules, encoders.tokenizer, encoders.size, encoders.normalisation)


def alone(data: MultimodalDataset, name: str) -> MultimodalDataset:
    """One modality of the rows that have it."""
    if data.observed is not None:
        data = data.subset(data.observed[name].nonzero().flatten())
    return data.restrict(name)
