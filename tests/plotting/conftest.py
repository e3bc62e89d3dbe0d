"""Small models of all families, data of three kinds, and figures that leave no trace."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import pytest
import torch

from mmvae import Batch, Modality, likelihoods, models, nn
from mmvae.vaes.base import MultimodalVAE


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
def pair(batch: Batch) -> Batch:
    """The pictures and the codes of the same data points."""
    return batch.restrict(("picture", "codes"))


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


@pytest.fixture(scope="session")
def classifier() -> models.CMPT:
    """A classifier of the pictures and codes, of which each encoder carries a proxy for the other."""
    torch.manual_seed(0)
    encoders = {
        "picture": nn.ViT((1, 8, 8), patch=4, dim=8, depth=2, heads=2),
        "codes": nn.TextTransformer(5, 4, dim=8, depth=1, heads=2, padding=0),
    }
    return models.CMPT(encoders, num_classes=3)


@pytest.fixture(scope="session")
def codebook() -> models.DCID:
    """Pictures and codes as sequences of four steps over a codebook of six."""
    torch.manual_seed(0)
    steps = {"picture": nn.PatchSteps((1, 8, 8), 4), "codes": nn.CodeSteps(5)}
    return models.DCID(steps, num_codes=6, code_dim=4, heads=2, club_hidden=4)


@pytest.fixture(autouse=True)
def _settings_stay() -> Iterator[None]:
    """No plot changes matplotlib's settings."""
    settings = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == settings
