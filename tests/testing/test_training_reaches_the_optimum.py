"""Training on the yardstick, with the true decoders held still, ends at the optimum that is known."""

from __future__ import annotations

from typing import Any

import jaxtyping
import pyro
import pytest
import torch
from torch import Tensor

from mmvae import models
from mmvae.testing import LinearGaussian

STEPS = 300


def train(model: Any, data: dict[str, Tensor], lr: float) -> None:
    """A plain loop over random batches; without checks, which cost more than the steps."""
    model.decoders.requires_grad_(False)
    batch = model.prepare(data)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=STEPS)
    jaxtyping.config.update("jaxtyping_disable", True)
    with pyro.validation_enabled(False):
        for _ in range(STEPS):
            loss = model.loss(batch[torch.randint(batch.size, (64,))])
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            schedule.step()


def mean_elbo(model: Any, data: dict[str, Tensor], subset: Any = None) -> float:
    with torch.no_grad():
        return float(model.elbo(data, subset, num_samples=64).mean())


@pytest.fixture(scope="module")
def orthogonal() -> tuple[LinearGaussian, dict[str, Tensor]]:
    yardstick = LinearGaussian.orthogonal({"a": 3, "b": 3}, latent_dim=2, seed=1)
    return yardstick, yardstick.sample(512)


def test_mvae_reaches_the_likelihood_of_every_subset(orthogonal: Any) -> None:
    yardstick, data = orthogonal
    model = models.MVAE(yardstick.modalities(), 2)
    train(model, data, 0.05)
    for subset in ("a", "b", ("a", "b")):
        exact = float(yardstick.log_likelihood(data, subset).mean())
        assert exact - 0.05 < mean_elbo(model, data, subset) < exact + 0.02


def test_mvtcae_without_total_correlation_reaches_the_joint_likelihood(orthogonal: Any) -> None:
    yardstick, data = orthogonal
    model = models.MVTCAE(yardstick.modalities(), 2, alpha=0.0)
    train(model, data, 0.05)
    exact = float(yardstick.log_likelihood(data).mean())
    assert exact - 0.05 < mean_elbo(model, data) < exact + 0.02


def test_jmvae_reaches_the_mean_field_optimum() -> None:
    """Of correlated latents, where no diagonal Gaussian is exact; the unimodal posteriors follow the joint one."""
    yardstick = LinearGaussian.random({"a": 3, "b": 3}, latent_dim=2, seed=7)
    data = yardstick.sample(512)
    model = models.JMVAE(yardstick.modalities(), 2, alpha=0.01, trunk_width=32, hidden=64)
    train(model, data, 0.02)
    best, exact = float(yardstick.mean_field_elbo(data).mean()), float(yardstick.log_likelihood(data).mean())
    assert best < exact - 0.05
    assert best - 0.06 < mean_elbo(model, data) < best + 0.02


@pytest.mark.parametrize("objective", ["elbo", "dreg"])
def test_mmvae_of_one_modality_reaches_its_likelihood(orthogonal: Any, objective: str) -> None:
    yardstick, data = orthogonal
    options = {"family": "normal", "learned_prior_scale": False, "objective": objective, "num_samples": 4}
    model = models.MMVAE(yardstick.modalities()[:1], 2, **options)
    train(model, {"a": data["a"]}, 0.05)
    exact = float(yardstick.log_likelihood(data, "a").mean())
    assert exact - 0.05 < mean_elbo(model, {"a": data["a"]}) < exact + 0.02


def test_mopoe_of_one_modality_reaches_its_likelihood(orthogonal: Any) -> None:
    yardstick, data = orthogonal
    model = models.MoPoE(yardstick.modalities()[:1], 2)
    train(model, {"a": data["a"]}, 0.05)
    exact = float(yardstick.log_likelihood(data, "a").mean())
    assert exact - 0.05 < mean_elbo(model, {"a": data["a"]}) < exact + 0.02


def test_mixtures_train_towards_the_best_mixture(orthogonal: Any) -> None:
    """Its ELBO beats that of the mixture of the exact unimodal posteriors, and stays below the likelihood."""
    from mmvae.testing import exact_model

    yardstick, data = orthogonal
    exact = float(yardstick.log_likelihood(data).mean())
    unimodal = mean_elbo(exact_model(yardstick, "MMVAE"), data)
    model = models.MMVAE(
        yardstick.modalities(), 2, family="normal", learned_prior_scale=False, objective="elbo", num_samples=2
    )
    model.weights = dict.fromkeys(model.names, 1.0)
    train(model, data, 0.05)
    assert unimodal < mean_elbo(model, data) < exact + 0.02


def test_mopoe_trains_below_the_likelihood(orthogonal: Any) -> None:
    yardstick, data = orthogonal
    model = models.MoPoE(yardstick.modalities(), 2)
    before = mean_elbo(model, data)
    train(model, data, 0.05)
    assert before < mean_elbo(model, data) < float(yardstick.log_likelihood(data).mean()) + 0.02
