"""Networks that are fitted on the side, and gradients that are clipped part by part."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from mmvae import Batch
from mmvae.objectives import Loss
from mmvae.training import fit
from mmvae.training.engine import Engine
from mmvae.training.settings import Settings

quiet = partial(fit, progress=False, batch_size=8, device="cpu")


class Sided(nn.Module):
    """A level that learns the mean of the data, and an estimator on the side that learns the mean of the level."""

    names = ("a",)
    arguments: dict = {}  # noqa: RUF012
    inner_steps, inner_lr = 3, 0.1

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("epoch", torch.zeros(()))
        self.level = nn.Parameter(torch.zeros(2))
        self.estimate = nn.Parameter(torch.zeros(2))
        self.seen: list[bool] = []

    def prepare(self, data, observed=None):
        return Batch.of(data, observed)

    def loss(self, batch):
        distance = (batch.data["a"].mean(0) - self.level).square().sum()
        read = self.estimate.detach().sum()
        return Loss(distance, {"read": read})

    def inner_parameters(self):
        return [self.estimate]

    def inner_inputs(self, batch):
        self.seen.append(torch.is_grad_enabled())
        return self.level + batch.data["a"].mean()

    def inner_loss(self, inputs):
        return (inputs - self.estimate).square().sum()


class InParts(Sided):
    inner_parameters = None
    inner_steps = None

    def loss(self, batch):
        return Loss((self.level * torch.tensor([30.0, 0.0])).sum() + 0.04 * self.estimate.sum(), {})

    def gradient_parts(self):
        return [[self.level], [self.estimate]]


DATA = {"a": torch.randn(24, 2, generator=torch.Generator().manual_seed(0)) + 3}


def test_inner_steps_go_before_the_step() -> None:
    """Each step of training takes the inner steps of Adam first, on inputs without gradients."""
    model = Sided()
    engine = Engine("cpu", Settings(epochs=1, lr=0.5))
    engine.setup(model, None)
    batch = Batch(DATA)
    by_hand = Sided()
    adam = torch.optim.Adam([by_hand.estimate], 0.1)
    target = by_hand.inner_inputs(batch).detach()
    for _ in range(3):
        adam.zero_grad()
        by_hand.inner_loss(target).backward()
        adam.step()
    _, terms = engine.step(batch)
    torch.testing.assert_close(terms["read"], by_hand.estimate.detach().sum())
    torch.testing.assert_close(model.estimate.detach(), by_hand.estimate.detach())
    assert model.seen == [False]
    torch.testing.assert_close(model.level.detach(), torch.tensor([0.5, 0.5]))  # one step of Adam


def test_a_stopped_run_has_the_state_of_the_inner_optimiser(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("mmvae.training.folder.describe", lambda model: {"class": "Sided", "arguments": {}})
    whole = Sided()
    quiet(whole, DATA, epochs=3)
    first = Sided()
    quiet(first, DATA, epochs=1, out=tmp_path)
    resumed = Sided()
    quiet(resumed, DATA, epochs=3, out=tmp_path, resume=True)
    assert torch.equal(resumed.estimate, whole.estimate)
    assert torch.equal(resumed.level, whole.level)


def test_parts_are_clipped_by_themselves() -> None:
    """A part with small gradients keeps them, however large those of another are."""
    model = InParts()
    engine = Engine("cpu", Settings(epochs=1, max_grad_norm=1.0))
    engine.setup(model, partial(torch.optim.SGD, lr=1.0))
    engine.step(Batch(DATA))
    assert model.level.tolist() == pytest.approx([-1.0, 0.0])
    assert model.estimate.tolist() == pytest.approx([-0.04, -0.04])


def test_parts_are_clipped_without_the_loss_scale_of_float16(monkeypatch) -> None:
    """Gradients are brought to their size before their norm is taken; a stand-in scales them, as a GPU would."""
    model = InParts()
    engine = Engine("cpu", Settings(epochs=1, max_grad_norm=1.0))
    engine.setup(model, partial(torch.optim.SGD, lr=1.0))

    def unscale(optimizer: torch.optim.Optimizer) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad /= 1024

    monkeypatch.setattr(engine._fabric, "backward", lambda loss: (1024 * loss).backward())
    monkeypatch.setattr(engine._fabric.strategy.precision, "unscale_gradients", unscale)
    engine.step(Batch(DATA))
    assert model.level.tolist() == pytest.approx([-1.0, 0.0])
    assert model.estimate.tolist() == pytest.approx([-0.04, -0.04])
