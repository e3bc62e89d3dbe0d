"""The doubly reparameterised gradient: that of the bound, and less noisy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from objectives.parts import make
from torch import Tensor

from mmvae.objectives import StratifiedDReG, StratifiedIWAE
from mmvae.posteriors import Product

REPEATS = 60
COPIES = 40


def gradients(model: Any, data: Any, objective: Any) -> Tensor:
    """Gradients of all parameters, ``[REPEATS, how many]``, each the mean over many draws for the same data."""
    batch = model.prepare({name: torch.cat([value] * COPIES) for name, value in data.items()})
    parameters = list(model.parameters())
    rows = []
    for _ in range(REPEATS):
        found = torch.autograd.grad(objective(model, batch).total, parameters)
        rows.append(torch.cat([each.flatten() for each in found]))
    return torch.stack(rows)


def assert_same_expectation(first: Tensor, second: Tensor) -> None:
    error = ((first.var(0) + second.var(0)) / REPEATS).sqrt()
    deviation = (first.mean(0) - second.mean(0)) / (error + 1e-9)
    assert deviation.abs().max() < 5
    assert deviation.square().mean() < 1.5  # of squared standard normals the mean is one


@pytest.mark.parametrize(
    ("count", "num_samples", "beta"), [(1, 4, 1.0), (1, 4, 0.5), (3, 1, 1.0), (3, 4, 1.0), (3, 6, 0.5)]
)
def test_dreg_is_unbiased(count: int, num_samples: int, beta: float) -> None:
    model, data = make("MMVAE", count, family="normal")
    model.weights = dict.fromkeys(model.names, 1.0)
    dreg = gradients(model, data, StratifiedDReG(num_samples, beta))
    assert_same_expectation(dreg, gradients(model, data, StratifiedIWAE(num_samples, beta)))


@pytest.mark.parametrize("count", [1, 3])
def test_dreg_is_less_noisy(count: int) -> None:
    """For the encoders, summed over parameters."""
    model, data = make("MMVAE", count, family="normal")
    size = sum(parameter.numel() for parameter in model.experts.parameters())
    encoders = slice(size) if next(model.parameters()) is next(model.experts.parameters()) else slice(-size, None)
    dreg = gradients(model, data, StratifiedDReG(8))[:, encoders]
    iwae = gradients(model, data, StratifiedIWAE(8))[:, encoders]
    assert dreg.var(0).sum() < 0.7 * iwae.var(0).sum()


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="num_samples"):
        StratifiedDReG(0)


def test_posteriors_that_are_no_mixtures_are_refused() -> None:
    model, data = make("MMVAE", family="normal")
    model.joint_posterior = Product(prior_expert=True)
    with pytest.raises(TypeError, match="Mixture or MixtureOfProducts"):
        model.loss(data)
