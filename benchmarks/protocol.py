"""What both libraries are given: the MNIST-SVHN-Text protocol, five models, and data of its shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mmvae import Batch, Modality, likelihoods, models
from mmvae.networks.mnist_svhn_text import (
    ALPHABET_SIZE,
    TEXT_LENGTH,
    MNISTDecoder,
    MNISTEncoder,
    SVHNDecoder,
    SVHNEncoder,
    TextDecoder,
    TextEncoder,
)
from mmvae.vaes.base import MultimodalVAE

LATENT_DIM = 20
IMAGE_SCALE = 0.75
"""Of the Laplace likelihood of both image modalities."""

Case = Literal["MVAE", "MMVAE K=1", "MMVAE K=10", "MoPoE", "JMVAE", "MVTCAE"]
"""A model as the tables call it."""

RECIPES: dict[Case, Callable[[list[Modality]], MultimodalVAE]] = {
    "MVAE": lambda modalities: models.MVAE(modalities, LATENT_DIM),
    "MMVAE K=1": lambda modalities: models.MMVAE(modalities, LATENT_DIM, num_samples=1),
    "MMVAE K=10": lambda modalities: models.MMVAE(modalities, LATENT_DIM, num_samples=10),
    "MoPoE": lambda modalities: models.MoPoE(modalities, LATENT_DIM),
    "JMVAE": lambda modalities: models.JMVAE(modalities, LATENT_DIM),
    "MVTCAE": lambda modalities: models.MVTCAE(modalities, LATENT_DIM),
}


def digit_modalities() -> list[Modality]:
    """MNIST, SVHN and text, with the networks that the field reuses for them."""
    return [
        Modality("mnist", (1, 28, 28), likelihoods.Laplace(IMAGE_SCALE), MNISTEncoder, MNISTDecoder),
        Modality("svhn", (3, 32, 32), likelihoods.Laplace(IMAGE_SCALE), SVHNEncoder, SVHNDecoder),
        Modality("text", (TEXT_LENGTH,), likelihoods.Categorical(ALPHABET_SIZE), TextEncoder, TextDecoder),
    ]


def make_model(case: Case, seed: int = 0) -> MultimodalVAE:
    """This library's model, with weights that the seed decides."""
    torch.manual_seed(seed)
    return RECIPES[case](digit_modalities())


def synthetic_digits(rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Noise of the protocol's shapes: what data holds changes no timing."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "mnist": torch.rand(rows, 1, 28, 28, generator=generator),
        "svhn": torch.rand(rows, 3, 32, 32, generator=generator),
        "text": torch.randint(ALPHABET_SIZE, (rows, TEXT_LENGTH), generator=generator),
    }


def real_digits(rows: int, folder: Path, seed: int = 0) -> tuple[dict[str, Tensor], str]:
    """Data points of the MNIST-SVHN-Text task as tensors, and what the images were."""
    from mmvae.data import mnist_svhn_text

    dataset = mnist_svhn_text(folder, size=rows, seed=seed)
    batch: Batch = dataset.batch(torch.arange(min(rows, len(dataset))))
    return batch.data, ", ".join(f"{name}: {source}" for name, source in dataset.sources_used.items())
