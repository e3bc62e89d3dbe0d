"""A small model, data of three kinds, and figures that leave no trace."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import pytest
import torch

from mmvae import Batch, Modality, likelihoods, models
from mmvae.models.base import MultimodalVAE


@pytest.fixture(scope="session")
def batch() -> Batch:
    """Twelve data points: grey pictures, codes and vectors; one picture and one vector are missing."""
    generator = torch.Generator().manual_seed(0)
    data = {
        "picture": torch.rand(12, 1, 8, 8, generator=generator),
        "codes": torch.randint(5, (12, 4), generator=generator),
        "vector": torch.randn(12, 3, generator=generator),
    }
    there = torch.ones(12, dtype=torch.bool)
    observed = {"picture": there & (torch.arange(12) != 2), "vector": there & (torch.arange(12) != 5)}
    return Batch(data, observed, labels=torch.arange(12) % 3)


@pytest.fixture(scope="session")
def model() -> MultimodalVAE:
    """A product model of the three modalities, which no test changes."""
    torch.manual_seed(0)
    return models.MVAE(
        [
            Modality("picture", (1, 8, 8), likelihoods.Normal()),
            Modality("codes", (4,), likelihoods.Categorical(5)),
            Modality("vector", (3,), likelihoods.Normal()),
        ],
        latent_dim=4,
    )


@pytest.fixture(autouse=True)
def _settings_stay() -> Iterator[None]:
    """No plot changes matplotlib's settings."""
    settings = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == settings
