"""A run that was stopped continues bit for bit as if it had not been."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from training.interrupting import interrupt

import mmvae
from mmvae import Batch, models
from mmvae.objectives import LinearWarmup
from mmvae.training import fit

quiet = partial(fit, progress=False, batch_size=8, device="cpu")  # five steps an epoch


class Drawing:
    """A source whose data is drawn anew at each access, from a generator of its own."""

    def __init__(self, data):
        self.data = data
        self.generator = torch.Generator().manual_seed(11)

    def __len__(self):
        return 40

    def batch(self, rows):
        noise = torch.randn(len(rows), 2, 3, generator=self.generator)
        return Batch({"image": self.data["image"][rows] + noise, "text": self.data["text"][rows]})

    def state_dict(self):
        return {"generator": self.generator.get_state(), "nested": {"a": 1, "b": [1.5, None]}}

    def load_state_dict(self, state):
        assert state["nested"] == {"a": 1, "b": [1.5, None]}
        self.generator.set_state(state["generator"])


@pytest.mark.parametrize("recipe", [models.MVAE, models.MMVAE, models.MoPoE, models.JMVAE, models.MVTCAE])
def test_more_epochs(new_model, data, tmp_path, assert_same, timeless, recipe):
    whole = quiet(new_model(recipe), data, epochs=4)
    quiet(new_model(recipe), data, epochs=2, out=tmp_path)
    resumed = quiet(new_model(recipe, seed=9), data, epochs=4, out=tmp_path, resume=True)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)


@pytest.mark.parametrize("calls", [2, 5, 6, 7, 12, 14])
def test_ctrl_c_anywhere(new_model, data, tmp_path, assert_same, timeless, calls):
    """Seven calls an epoch: five steps (8 rows each, of 30), then two batches of validation."""
    options = {"epochs": 3, "validation": 0.25, "max_grad_norm": 5.0}
    beta = LinearWarmup(epochs=2.0)
    whole = quiet(new_model(beta=beta), data, **options)
    stopped = interrupt(new_model(beta=beta), calls)
    with pytest.raises(KeyboardInterrupt):
        quiet(stopped, data, **options, out=tmp_path)
    resumed = quiet(new_model(beta=beta, seed=9), data, **options, out=tmp_path, resume=True)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)
    assert whole.best_epoch == resumed.best_epoch


def test_ctrl_c_several_times(new_model, data, tmp_path, assert_same, timeless):
    whole = quiet(new_model(), data, epochs=3)
    for seed in range(4):
        with pytest.raises(KeyboardInterrupt):
            quiet(interrupt(new_model(seed=seed), 3), data, epochs=3, out=tmp_path, resume=True)
    resumed = quiet(new_model(seed=9), data, epochs=3, out=tmp_path, resume=True)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)


def test_an_interrupt_in_the_middle_of_a_step(new_model, data, tmp_path, assert_same, timeless):
    """What has been drawn in half a step cannot be taken back: the run continues from the checkpoint before."""
    whole = quiet(new_model(), data, epochs=3)
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupt(new_model(), 8, at_once=True), data, epochs=3, out=tmp_path)
    resumed = quiet(new_model(seed=9), data, epochs=3, out=tmp_path, resume=True)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)


def test_a_source_with_a_generator_of_its_own(new_model, data, tmp_path, assert_same, timeless):
    options = {"epochs": 3, "validation": 0.25}
    whole = quiet(new_model(), Drawing(data), **options)
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupt(new_model(), 10), Drawing(data), **options, out=tmp_path)
    resumed = quiet(new_model(seed=9), Drawing(data), **options, out=tmp_path, resume=True)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)


def test_networks_that_draw_from_any_generator(new_model, data, tmp_path, assert_same):
    class Jitter(torch.nn.Module):
        def forward(self, x):
            return x + 0.1 * (random.random() + np.random.random()) + torch.nn.functional.dropout(x, 0.2)  # noqa: NPY002

    def jittery(seed=0):
        model = new_model(seed=seed)
        model.decoders["image"] = torch.nn.Sequential(Jitter(), model.decoders["image"])
        return model

    whole = quiet(jittery(), data, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupt(jittery(), 7), data, epochs=2, out=tmp_path)
    resumed = quiet(jittery(9), data, epochs=2, out=tmp_path, resume=True)
    assert_same(whole.model, resumed.model)


def test_early_stopping_goes_on_counting(new_model, data, peaking, tmp_path, assert_same, timeless):
    options = {"validation": 0.25, "patience": 3}
    whole = quiet(peaking(new_model(), at=2), data, epochs=100, **options)
    quiet(peaking(new_model(), at=2), data, epochs=4, out=tmp_path, **options)
    for _ in range(2):  # the second finds nothing left to do
        resumed = quiet(peaking(new_model(seed=9), at=2), data, epochs=100, out=tmp_path, resume=True, **options)
        assert resumed.metrics[-1]["epoch"] == 5
        assert timeless(whole) == timeless(resumed)
        assert_same(whole.model, resumed.model)


def test_a_finished_run_is_given_back(new_model, data, tmp_path, assert_same):
    first = quiet(new_model(), data, epochs=2, validation=0.25, out=tmp_path)
    again = quiet(new_model(seed=9), data, epochs=2, validation=0.25, out=tmp_path, resume=True)
    assert_same(first.model, again.model)
    assert first.metrics == again.metrics
    assert first.best_epoch == again.best_epoch


def test_resume_starts_where_there_is_nothing(new_model, data, tmp_path, assert_same):
    run = quiet(new_model(), data, epochs=1, out=tmp_path / "new", resume=True)
    assert_same(run.model, quiet(new_model(), data, epochs=1).model)


def test_checkpoints_within_an_epoch(new_model, data, tmp_path, assert_same):
    """Every step, if asked for: then even an interrupt in the middle of a step loses that step alone."""
    whole = quiet(new_model(), data, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupt(new_model(), 8, at_once=True), data, epochs=2, out=tmp_path, checkpoint_seconds=0.0)
    resumed_model = new_model(seed=9)
    calls = []
    inner = resumed_model.objective
    resumed_model.objective = lambda model, batch: (calls.append(1), inner(model, batch))[1]
    resumed = quiet(resumed_model, data, epochs=2, out=tmp_path, resume=True)
    assert len(calls) == 3
    assert_same(whole.model, resumed.model)


def test_ctrl_c_leaves_a_model_to_load(new_model, data, tmp_path, assert_same, capsys):
    model = interrupt(new_model(), 2)
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, epochs=2, batch_size=8, device="cpu", out=tmp_path)
    assert "resume=True" in capsys.readouterr().err
    assert_same(mmvae.load(tmp_path), model)


def test_ctrl_c_gives_back_the_best_weights(new_model, data, new_data, assert_same):
    other = new_data(8, seed=8)
    model = interrupt(new_model(), 14)  # the second step of the third epoch, of six calls each
    with pytest.raises(KeyboardInterrupt):
        quiet(model, data, epochs=5, validation=other)
    assert_same(model, quiet(new_model(), data, epochs=2, validation=other).model)


def test_another_run_is_not_overwritten(new_model, data, tmp_path):
    quiet(new_model(), data, epochs=1, out=tmp_path)
    with pytest.raises(ValueError, match=r"holds this run already, after 1 epochs. Pass resume=True"):
        quiet(new_model(), data, epochs=1, out=tmp_path)
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"another configuration: lr is 0.001 there and 0.01 here"):
            quiet(new_model(), data, epochs=1, lr=0.01, out=tmp_path, resume=resume)
        with pytest.raises(ValueError, match=r"another configuration: the model is a MoPoE there and a MVAE here"):
            quiet(new_model(models.MVAE), data, epochs=1, out=tmp_path, resume=resume)
        with pytest.raises(ValueError, match=r"arguments.beta is 1.0 there and 2.0 here"):
            quiet(new_model(beta=2.0), data, epochs=1, out=tmp_path, resume=resume)
        shorter = {name: value[1:] for name, value in data.items()}
        with pytest.raises(ValueError, match=r"rows is 40 there and 39 here"):
            quiet(new_model(), shorter, epochs=1, out=tmp_path, resume=resume)


def test_a_saved_model_is_not_overwritten(model, data, tmp_path):
    mmvae.save(model, tmp_path)
    with pytest.raises(ValueError, match=r"holds a saved model, not a run"):
        quiet(model, data, epochs=1, out=tmp_path)


def test_a_damaged_checkpoint(new_model, data, tmp_path):
    quiet(new_model(), data, epochs=1, out=tmp_path)
    path = tmp_path / "checkpoints" / "last.safetensors"
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:4], b""):
        path.write_bytes(part)
        with pytest.raises(ValueError, match=r"last.safetensors is damaged"):
            quiet(new_model(), data, epochs=2, out=tmp_path, resume=True)
