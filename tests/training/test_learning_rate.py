"""Schedules of the learning rate, alone and in a run."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from mmvae import training
from mmvae.training import fit

quiet = partial(fit, progress=False, batch_size=20, device="cpu")  # two steps an epoch


def test_factors() -> None:
    cosine, line = training.warmup_cosine(0.2), training.warmup_polynomial(0.2, power=1.0)
    for schedule in (cosine, line):
        assert [schedule(done) for done in (0.0, 0.1, 0.2)] == pytest.approx([0.0, 0.5, 1.0])
        assert schedule(0.6) == pytest.approx(0.5)
        assert schedule(1.0) == pytest.approx(0.0)
    assert training.warmup_cosine(0.0)(0.0) == 1.0
    with pytest.raises(ValueError, match="warmup"):
        training.warmup_cosine(1.0)


def test_a_run_follows_its_schedule(new_model, data) -> None:
    """Plain gradient descent on a loss of constant slope moves by the rate of each step: lr times the factor."""
    model = new_model()
    model.register_parameter("level", torch.nn.Parameter(torch.zeros(())))
    inner = model.objective

    def sloping(owner, batch):
        loss = inner(owner, batch)
        return type(loss)(loss.total * 0 + owner.level, loss.terms)

    model.objective = sloping
    sgd = partial(torch.optim.SGD, lr=2.0)
    quiet(model, data, epochs=2, optimizer=sgd, schedule=training.warmup_polynomial(0.5, power=1.0))
    # Of four steps, 0, 1/4, 1/2 and 3/4 of the training are done.
    assert model.level.item() == pytest.approx(-2.0 * (0 + 0.5 + 1 + 0.5))


def test_a_run_with_a_schedule_is_resumed_with_the_same_epochs(new_model, data, tmp_path, assert_same) -> None:
    schedule = training.warmup_cosine(0.1)
    whole = new_model()
    quiet(whole, data, epochs=2, schedule=schedule)

    class Stop(Exception):
        pass

    stopped = new_model()
    inner, calls = stopped.objective, iter(range(100))

    def stopping(owner, batch):
        if next(calls) == 3:
            raise Stop
        return inner(owner, batch)

    stopped.objective = stopping
    with pytest.raises(Stop):
        quiet(stopped, data, epochs=2, schedule=schedule, out=tmp_path)
    with pytest.raises(ValueError, match="epochs is 2 there and 3 here"):
        quiet(new_model(), data, epochs=3, schedule=schedule, out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="schedule"):
        quiet(new_model(), data, epochs=2, out=tmp_path, resume=True)
    resumed = new_model()
    quiet(resumed, data, epochs=2, schedule=schedule, out=tmp_path, resume=True)
    assert_same(resumed, whole)
