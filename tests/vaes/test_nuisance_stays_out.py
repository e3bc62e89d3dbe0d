"""What is known of every cell stays out of the latents: the batch as a covariate, the library size as a size factor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

import mmvae
from mmvae import Modality, likelihoods, models

CELLS, TYPES, BATCHES = 600, 3, 3


def cells() -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """Counts of two kinds, with effects of type, two states, batch and depth; types, batches, and log depths."""
    generator = torch.Generator().manual_seed(0)
    kind, batch = (torch.randint(count, (CELLS,), generator=generator) for count in (TYPES, BATCHES))
    depth, states = 0.6 * torch.randn(CELLS, generator=generator), torch.randn(CELLS, 2, generator=generator)
    counts = {}
    for name, size, level in (("rna", 60, 0.0), ("protein", 12, 2.0)):
        of_kind, of_batch = (torch.randn(count, size, generator=generator) for count in (TYPES, BATCHES))
        of_states = 0.5 * torch.randn(2, size, generator=generator)
        logs = level + of_kind[kind] + states @ of_states + of_batch[batch] + depth[:, None]
        counts[name] = torch.poisson(logs.exp(), generator=generator)
    return counts, kind, batch, depth


def latents(
    counts: dict[str, Tensor], covariates: dict[str, int] | None, library: str | None, known: Any
) -> np.ndarray:
    torch.manual_seed(0)
    modalities = [
        Modality(name, tuple(value.shape[1:]), likelihoods.NegativeBinomial(library=library))
        for name, value in counts.items()
    ]
    model = models.MVTCAE(modalities, latent_dim=4, covariates=covariates)
    options: dict[str, Any] = {"epochs": 30, "batch_size": 50, "lr": 3e-3, "device": "cpu", "progress": False}
    mmvae.fit(model, counts, covariates=known, **options)
    return mmvae.infer(model, counts, covariates=known).mean.numpy()


def by_neighbours(found: np.ndarray, labels: Tensor) -> float:
    """Accuracy of nearest neighbours for the second half of the cells, told by the first."""
    half = CELLS // 2
    return float(KNeighborsClassifier(15).fit(found[:half], labels[:half]).score(found[half:], labels[half:]))


def explained(found: np.ndarray, depth: Tensor) -> float:
    """R² of a regression of the log depth."""
    half = CELLS // 2
    return float(Ridge().fit(found[:half], depth[:half]).score(found[half:], depth[half:]))


@pytest.mark.slow
def test_batch_and_depth_stay_out_where_they_are_given_and_types_stay_in() -> None:
    counts, kind, batch, depth = cells()
    plain = latents(counts, None, None, None)
    known = latents(counts, {"batch": BATCHES}, "observed", {"batch": batch})
    assert by_neighbours(plain, batch) > 0.8
    assert by_neighbours(known, batch) < 0.45
    assert by_neighbours(known, kind) >= max(0.95, by_neighbours(plain, kind) - 0.02)
    assert explained(plain, depth) > 0.3
    assert explained(known, depth) < 0.1
