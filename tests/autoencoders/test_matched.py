"""MAAE and MWAE: the contract, losses against loops, and points that come to lie as draws of the prior do."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import mmvae
from mmvae import Batch, Modality, likelihoods, nn
from mmvae.autoencoders.matching import Critic, Discriminator, Kernel
from mmvae.models import MAAE, MWAE, MultimodalAutoencoder
from mmvae.networks.mmd import mmd
from mmvae.objectives import LinearWarmup
from mmvae.testing import AutoencoderContract


class Matched(AutoencoderContract):
    def is_fitted_aside(self, name: str) -> bool:
        return name.startswith("match.")


class TestMAAE(Matched):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalAutoencoder:
        return MAAE(modalities, 2, hidden=8)


class TestMWAE(Matched):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalAutoencoder:
        return MWAE(modalities, 2)


class TestCriticMWAE(Matched):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalAutoencoder:
        return MWAE(modalities, 2, distance="critic", hidden=8, covariates={"age": None})

    def make_covariates(self) -> dict[str, float]:
        return {"age": 0.25}


def test_another_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="distance: expected one of 'mmd', 'critic', got 'swd'"):
        MWAE(TestMWAE().make_modalities(), 2, distance="swd")  # type: ignore[arg-type]


# The match by itself.


def kernel(x: Tensor, y: Tensor) -> Tensor:
    squared, width = (x - y).square().sum(), 2 * len(x)
    return sum((width * s / (width * s + squared) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)), start=torch.zeros(()))


def test_mmd_is_that_of_loops() -> None:
    a, b = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True), torch.randn(5, 3, dtype=torch.float64)
    weights = torch.tensor([[1, 1, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1]], dtype=torch.float64)
    expected = []
    for sample, weight in zip(a, weights, strict=True):
        rows = [row for row, there in zip(sample, weight, strict=True) if there]
        within = sum(kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j)
        of_b = sum(kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j)
        across = sum(kernel(x, y) for x in rows for y in b)
        n = len(rows)
        expected.append(within / (n * (n - 1)) + of_b / 20 - 2 * across / (5 * n))
    found = mmd(a, b, weights)
    torch.testing.assert_close(found, torch.stack(expected))
    gradients = [torch.autograd.grad(each.sum(), a, retain_graph=True)[0] for each in (found, torch.stack(expected))]
    torch.testing.assert_close(*gradients)


def test_mmd_is_without_bias_and_sees_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(400, 20, 2, generator=generator) for _ in range(2))
    alike = torch.stack([mmd(x, y) for x, y in zip(a, b, strict=True)])
    assert alike.mean().abs() < 4 * alike.std() / 20
    assert alike.min() < 0
    apart = torch.stack([mmd(x + 1.0, y) for x, y in zip(a, b, strict=True)])
    assert apart.mean() > 20 * alike.std() / 20
    assert mmd(a[0, :1], b[0]) == 0


def test_the_discriminator_is_scored_by_cross_entropy() -> None:
    """Values and gradients by loops; log 2 where it cannot tell, and encoders give its weights none."""
    torch.manual_seed(0)
    match = Discriminator(3, 8)
    points = torch.randn(2, 5, 3, requires_grad=True)
    weights = torch.tensor([[1, 1, 0, 1, 1], [1, 0, 0, 1, 1.0]])
    torch.manual_seed(1)
    drawn = torch.randn(2, 5, 3)
    torch.manual_seed(1)
    found = match.fit_loss(points.detach(), weights)
    slow = copy.deepcopy(match).double()
    true, false, fooled, count = 0.0, 0.0, 0.0, int(weights.sum())
    doubled = points.detach().double().requires_grad_()
    for view in range(2):
        for row in range(5):
            if weights[view, row]:
                true = true - torch.sigmoid(slow.network(drawn[view, row].double())).log() / count
                score = torch.sigmoid(slow.network(doubled[view, row]))
                false = false - (1 - score).log() / count
                fooled = fooled - score.log() / count
    torch.testing.assert_close(found.double(), ((true + false) / 2).squeeze(), rtol=1e-5, atol=1e-6)
    found.backward()
    gradients = torch.autograd.grad((true + false).squeeze() / 2, list(slow.parameters()), retain_graph=True)
    for parameter, gradient in zip(match.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad.double(), gradient, rtol=1e-4, atol=1e-6)
        parameter.grad = None
    penalty = match(points, weights)
    torch.testing.assert_close(penalty.double(), fooled.squeeze(), rtol=1e-5, atol=1e-6)
    penalty.backward()
    assert all(parameter.grad is None for parameter in match.parameters())
    (gradient,) = torch.autograd.grad(fooled.squeeze(), doubled)
    torch.testing.assert_close(points.grad.double(), gradient, rtol=1e-4, atol=1e-6)
    for parameter in match.parameters():
        parameter.data.zero_()
    for loss in (match.fit_loss(points.detach(), weights), match(points, weights)):
        assert float(loss.detach()) == pytest.approx(math.log(2))


def test_the_critic_comes_to_measure_a_shift() -> None:
    """The Wasserstein distance of a normal from itself, shifted, is the length of the shift."""
    torch.manual_seed(0)
    match = Critic(2, 32)
    optimizer = torch.optim.Adam(match.parameters(), lr=3e-3)
    weights = torch.ones(1, 256)
    for _ in range(400):
        optimizer.zero_grad()
        match.fit_loss(torch.randn(1, 256, 2) + torch.tensor([1.2, 1.6]), weights).backward()
        optimizer.step()
    with torch.no_grad():
        distance = match(torch.randn(1, 20_000, 2) + torch.tensor([1.2, 1.6]), torch.ones(1, 20_000))
    assert distance == pytest.approx(2.0, abs=0.2)


def test_the_slope_of_the_critic_is_penalised_as_by_loops() -> None:
    torch.manual_seed(0)
    match = Critic(3, 8, slope=7.0)
    points, weights = torch.randn(2, 5, 3), torch.tensor([[1, 1, 0, 1, 1], [1, 0, 0, 1, 1.0]])
    torch.manual_seed(1)
    found = match.fit_loss(points, weights)
    torch.manual_seed(1)
    drawn, share = torch.randn(2, 5, 3), torch.rand(2, 5, 1)
    expected, count = torch.zeros(()), int(weights.sum())
    for view in range(2):
        for row in range(5):
            if weights[view, row]:
                x, y, u = points[view, row], drawn[view, row], share[view, row]
                between = (u * x + (1 - u) * y).requires_grad_()
                (slope,) = torch.autograd.grad(match.network(between).sum(), between, create_graph=True)
                apart = match.network(x) - match.network(y)
                expected = expected + (apart.squeeze() + 7.0 * (slope.norm() - 1).square()) / count
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(each, list(match.parameters()), allow_unused=True) for each in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        if one is not None:  # the last bias moves nothing
            torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, rtol=1e-4, atol=1e-6)


# The models.


def test_every_modality_explains_every_other() -> None:
    """Value and gradient of the reconstruction by loops over rows, sources and targets, on incomplete rows."""
    parts = TestMAAE()
    torch.manual_seed(0)
    model = MAAE(parts.make_modalities(), 2, adversarial=0.0)
    data, observed = parts.make_data(), parts.make_observed()
    total = model.loss(Batch(data, observed)).total
    total.backward()
    slow = copy.deepcopy(model).double()
    slow.zero_grad()
    doubled = {name: value.double() if value.is_floating_point() else value for name, value in data.items()}
    expected = torch.zeros((), dtype=torch.float64)
    for row in range(6):
        there = [name for name in model.names if observed[name][row]]
        for source in there:
            encoder, head = slow.encoding.encoders[source], slow.encoding.heads[source]
            point = head(encoder(doubled[source][row : row + 1]))
            for target in there:
                log_p = slow.likelihoods[target](slow.decoders[target](point)).log_prob(doubled[target][row : row + 1])
                expected = expected - model.weights[target] * log_p.sum() / len(there) / 6
    expected.backward()
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-6)
    for (name, one), other in zip(model.named_parameters(), slow.parameters(), strict=True):
        if not name.startswith("match."):
            torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-4, atol=1e-5)


def pair(rows: int = 512) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    cause = torch.randn(rows, 2, generator=generator) * torch.tensor([1.0, 0.5]) + 2.0
    return {"a": cause + 0.1 * torch.randn(rows, 2, generator=generator), "b": cause**3 / 4}


def modalities() -> list[Modality]:
    encoder, decoder = partial(nn.MLPEncoder, (2,), hidden=(64,)), partial(nn.MLPDecoder, shape=(2,), hidden=(64,))
    return [Modality(name, (2,), likelihoods.Normal(0.3), encoder, decoder) for name in "ab"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (MAAE, {}),
        (MWAE, {}),
        (MWAE, {"distance": "critic", "penalty": LinearWarmup(1.0, 10.0), "inner_lr": 3e-3}),
    ],
    ids=["adversarial", "mmd", "critic"],
)
def test_points_come_to_lie_as_draws_of_the_prior_do(kind: Any, options: dict[str, Any]) -> None:
    """From a start far off: the discrepancy becomes a small part of what it is without the penalty."""
    data, draws = pair(), torch.randn(512, 2, generator=torch.Generator().manual_seed(5))
    found = {}
    off = {"adversarial" if kind is MAAE else "penalty": 0.0}
    for name, chosen in (("with", {}), ("without", off)):
        torch.manual_seed(0)
        model = kind(modalities(), 2, hidden=32, **{**options, **chosen})
        for head in model.encoding.heads.values():
            head.bias.data += 3.0
        mmvae.fit(model, data, epochs=60, batch_size=128, lr=3e-3, seed=0, progress=False)
        found[name] = max(float(mmd(mmvae.infer(model, data, subset).mean, draws)) for subset in ("a", "b", None))
        if name == "with":
            samples = model.sample(2000)["a"]
            assert (samples.mean(0) - data["a"].mean(0)).abs().max() < 0.35
    assert found["with"] < 0.25 * found["without"]


@pytest.mark.parametrize("kind", [MAAE, MWAE])
def test_samples_are_decoded_draws_of_the_prior(kind: Any) -> None:
    model = kind(modalities(), 2)
    torch.manual_seed(1)
    samples = model.sample(3)
    torch.manual_seed(1)
    decoded = model.decode(model.prior().sample((3,)))
    for name, value in samples.items():
        torch.testing.assert_close(value, decoded[name].mean)


def test_a_penalty_that_grows_is_settled_in_validation() -> None:
    model = MWAE(modalities(), 2, penalty=LinearWarmup(4.0, 3.0))
    run = mmvae.fit(model, pair(64), epochs=2, batch_size=32, validation=0.25, lr=1e-3, progress=False)
    assert model.settled_after == 3.0
    row = next(row for row in run.metrics if row["split"] == "validation")
    assert row["loss"] == pytest.approx(4.0 * row["mmd"] - row["log_likelihood"], rel=1e-4)
    assert MAAE(modalities(), 2).judged_by(None).term == "log_likelihood"
    assert model.judged_by(None).term == "loss"


def test_the_kernel_needs_no_inner_steps() -> None:
    assert list(MWAE(modalities(), 2).inner_parameters()) == []
    points, weights = torch.randn(2, 8, 2), torch.ones(2, 8)
    assert Kernel().fit_loss(points, weights) == 0
    torch.manual_seed(0)
    found = Kernel()(points, weights)
    torch.manual_seed(0)
    draws = torch.randn(8, 2)
    torch.testing.assert_close(found, (mmd(points[0], draws) + mmd(points[1], draws)) / 2)
