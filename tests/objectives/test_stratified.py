"""The doubly reparameterised gradient: that of the bound, and less noisy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from objectives.parts import make
from torch import Tensor

from mmvae.objectives import StratifiedDReG, StratifiedELBO, StratifiedIWAE

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


@pytest.mark.parametrize("objective", [StratifiedELBO, StratifiedIWAE, StratifiedDReG])
def test_a_single_gaussian_is_a_mixture_of_one(objective: type) -> None:
    """The bound of a product is that of the mixture whose only component it is."""
    model, data = make("MVAE", 1)
    batch = model.prepare(data)
    posterior = model.posterior(batch)
    torch.manual_seed(0)
    found = objective(4)(model, batch)
    torch.manual_seed(0)
    z = posterior.rsample((1, 4))[0]
    log_w = model.score(batch, z)["real"] * model.weights["real"] + model.prior().log_prob(z) - posterior.log_prob(z)
    bound = log_w.mean(0) if objective is StratifiedELBO else log_w.logsumexp(0) - math.log(4)
    torch.testing.assert_close(found.total, -bound.mean(), rtol=1e-4, atol=1e-4)
