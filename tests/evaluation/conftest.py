"""A linear-Gaussian model whose posteriors are exact, and a model whose every answer is known."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from mmvae import Batch, Latents, Modality, likelihoods, models
from mmvae.subsets import canonical

DIM = 2
NOISE = {"a": 0.5, "b": 0.8, "c": 1.1}
SLOPE = {"a": (1.0, 0.7), "b": (-0.6, 1.3), "c": (0.9, 0.4)}


def make_exact_model(names: tuple[str, ...] = ("a", "b"), inflation: float = 1.0) -> models.MVAE:
    """x_m = slope_m * z + noise; with ``inflation`` 1 every posterior is exact, beyond it experts are too wide."""
    identity = nn.Linear(DIM, DIM)
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)
    decoder = functools.partial(nn.Linear, out_features=DIM)
    modalities = [
        Modality(name, (DIM,), likelihoods.Normal(NOISE[name]), encoder=identity, decoder=decoder) for name in names
    ]
    model = models.MVAE(modalities, latent_dim=DIM)
    with torch.no_grad():
        for name in names:
            slope = torch.tensor(SLOPE[name])
            model.decoders[name].weight.copy_(slope.diag())
            model.decoders[name].bias.zero_()
            linear = model.experts.heads[name].linear
            linear.weight.zero_()
            linear.weight[:DIM] = (1 / slope).diag()
            linear.bias.copy_(torch.cat([torch.zeros(DIM), 2 * (inflation * NOISE[name] / slope.abs()).log()]))
    return model


def exact_log_likelihood(batch: Batch, subset: tuple[str, ...]) -> Tensor:
    """log p(x_S) of the model above: each dimension is a Gaussian over the members of S."""
    total = torch.zeros(batch.size)
    for dim in range(DIM):
        slope = torch.tensor([SLOPE[name][dim] for name in subset])
        covariance = slope.outer(slope) + torch.tensor([NOISE[name] ** 2 for name in subset]).diag()
        x = torch.stack([batch.data[name][:, dim] for name in subset], -1)
        total += torch.distributions.MultivariateNormal(torch.zeros(len(subset)), covariance).log_prob(x)
    return total


def make_data(rows: int = 60, names: tuple[str, ...] = ("a", "b"), seed: int = 0, **keywords: Any) -> Batch:
    """Draws from the model above; the class is the quadrant of z."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, DIM, generator=generator)
    noise = {name: torch.randn(rows, DIM, generator=generator) for name in names}
    data = {name: torch.tensor(SLOPE[name]) * z + NOISE[name] * noise[name] for name in names}
    return Batch(data, labels=(z > 0).long() @ torch.tensor([1, 2]), **keywords)


class Known(nn.Module):
    """Data are one-hot classes, latents are the data, and what is generated is a given function of the latents.

    Args:
        makes: by modality, from latents ``[N, classes]`` to data.
        prior: classes of the prior's draws, which repeat.
        noise: standard deviation of the posterior; 0 for a point mass.
    """

    def __init__(self, makes: dict[str, Callable[[Tensor], Tensor]], prior: Tensor, noise: float = 0.0) -> None:
        super().__init__()
        self.makes, self.prior, self.noise = makes, prior, noise
        self.names = tuple(makes)
        self.modalities: tuple[Modality, ...] = tuple(
            Modality(name, (prior.shape[1],), likelihoods.Normal()) for name in makes
        )

    def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> Latents:
        batch = batch.restrict(None if subset is None else canonical(subset, self.names))
        mean = sum(batch.data[name] for name in batch.names) / len(batch.names)
        if self.noise:
            return Latents(dist.Normal(mean, self.noise * torch.ones_like(mean)).to_event(1), batch.names)
        return Latents(dist.Delta(mean, event_dim=1), batch.names)

    def generate(self, latents: Latents, num_samples: int | None = None) -> dict[str, Tensor]:
        return {name: make(latents.mean) for name, make in self.makes.items()}

    def sample(self, num_samples: int) -> dict[str, Tensor]:
        z = self.prior.repeat(math.ceil(num_samples / len(self.prior)), 1)[:num_samples]
        return {name: make(z) for name, make in self.makes.items()}


@pytest.fixture
def exact_model() -> Callable[..., models.MVAE]:
    return make_exact_model


@pytest.fixture
def log_likelihood_in_closed_form() -> Callable[..., Tensor]:
    return exact_log_likelihood


@pytest.fixture
def linear_data() -> Callable[..., Batch]:
    return make_data


@pytest.fixture
def known() -> type[Known]:
    return Known
