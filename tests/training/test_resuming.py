"""A run that was stopped continues bit for bit as if it had not been."""

from __future__ import annotations

import os
import random
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from training.catalogue import CASES
from training.interrupting import interrupt

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.data import MultimodalDataset
from mmvae.objectives import LinearWarmup, SubsetELBO, TotalCorrelation
from mmvae.posteriors import Product
from mmvae.sources import InMemory
from mmvae.training import fit
from mmvae.training.fingerprint import data_in_words
from mmvae.training.loop import Loop

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


@pytest.mark.parametrize("calls", [2, 7, 14])
def test_sigterm_saves_as_ctrl_c_does(new_model, data, tmp_path, assert_same, timeless, calls):
    options = {"epochs": 3, "validation": 0.25}
    whole = quiet(new_model(), data, **options)
    stopped = interrupt(new_model(), calls, number=signal.SIGTERM)
    with pytest.raises(SystemExit) as info:
        quiet(stopped, data, **options, out=tmp_path)
    assert info.value.code == 143
    if calls > 7:
        assert_same(mmvae.load(tmp_path), stopped)
    resumed = quiet(new_model(seed=9), data, **options, out=tmp_path, resume=True)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)


def kill_before_weights(make, data, epoch, **options):
    """Trains in a process of its own, which is killed after the checkpoint of an epoch and before its weights."""
    if (child := os.fork()) == 0:
        write = Loop._write_weights

        def killed(self):
            if self._epoch == epoch:
                os.kill(os.getpid(), signal.SIGKILL)
            write(self)

        Loop._write_weights = killed
        try:
            quiet(make(), data, **options)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("validation", [None, 0.25])
def test_a_kill_between_checkpoint_and_weights_is_repaired(
    new_model, data, peaking, tmp_path, assert_same, epoch, validation
):
    def make():
        return new_model() if validation is None else peaking(new_model(), at=2)

    options = {"epochs": 3, "validation": validation}
    kill_before_weights(make, data, epoch, **options, out=tmp_path)
    written = (tmp_path / "model.safetensors").read_bytes() if epoch > 1 else None
    expected = quiet(make(), data, **{**options, "epochs": epoch}).model
    assert_same(mmvae.load(tmp_path), expected)  # from the checkpoint, and nothing is written
    assert mmvae.training.Run.load(tmp_path).metrics[-1]["epoch"] == epoch
    assert (tmp_path / "model.safetensors").exists() == (written is not None)
    resumed = quiet(make(), data, **{**options, "epochs": epoch}, out=tmp_path, resume=True)
    assert_same(resumed.model, expected)
    (tmp_path / "checkpoints" / "last.safetensors").unlink()
    assert_same(mmvae.load(tmp_path), expected)  # from the weights, which were repaired


def test_weights_that_were_saved_by_hand_into_the_folder_of_a_run_are_those_that_load(
    new_model, data, tmp_path, assert_same
):
    run = quiet(new_model(), data, epochs=2, out=tmp_path)
    other = new_model(seed=5)
    mmvae.save(other, tmp_path)
    assert_same(mmvae.load(tmp_path), other)
    resumed = quiet(new_model(), data, epochs=2, out=tmp_path, resume=True)
    assert_same(resumed.model, run.model)


def test_a_damaged_checkpoint_beside_sound_weights_is_said(new_model, data, tmp_path, assert_same):
    run = quiet(new_model(), data, epochs=1, out=tmp_path)
    checkpoint = tmp_path / "checkpoints" / "last.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"last.safetensors is damaged.* may be older"):
        assert_same(mmvae.load(tmp_path), run.model)


@pytest.mark.parametrize("name", ["metrics.csv", "model.safetensors", "tensorboard/events", "checkpoints/step-1000"])
def test_files_of_another_program_are_left_alone(new_model, data, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("weeks of work")
    for resume in (False, True):
        with pytest.raises(ValueError, match=rf"{tmp_path} holds {name.split('/')[0]}, but no config.json"):
            quiet(new_model(), data, epochs=1, out=tmp_path, resume=resume)
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [Path(name)]
    assert (tmp_path / name).read_text() == "weeks of work"


def test_a_folder_with_other_things_in_it_can_become_a_run(new_model, data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plots").mkdir()
    quiet(new_model(), data, epochs=1, out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("kept", ["model.safetensors", "metrics.csv"])
def test_a_run_whose_checkpoint_was_deleted_keeps_what_is_left(new_model, data, tmp_path, kept, resume):
    quiet(new_model(), data, epochs=2, out=tmp_path)
    (tmp_path / "checkpoints" / "last.safetensors").unlink()
    for name in {"model.safetensors", "metrics.csv"} - {kept}:
        (tmp_path / name).unlink()
    before = (tmp_path / kept).read_bytes()
    with pytest.raises(ValueError, match=rf"holds {kept} of this run, but no checkpoint to resume from"):
        quiet(new_model(), data, epochs=2, out=tmp_path, resume=resume)
    assert (tmp_path / kept).read_bytes() == before


def test_a_run_that_never_came_to_a_checkpoint_begins_again(new_model, data, tmp_path):
    quiet(new_model(), data, epochs=1, out=tmp_path / "whole")
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    (tmp_path / "begun" / "config.json").write_bytes((tmp_path / "whole" / "config.json").read_bytes())
    (tmp_path / "begun" / "metrics.csv").write_text("seconds\n")
    assert len(quiet(new_model(), data, epochs=1, out=tmp_path / "begun").metrics) == 1


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
        with pytest.raises(ValueError, match=r"another configuration: beta is 1.0 there and 2.0 here"):
            quiet(new_model(beta=2.0), data, epochs=1, out=tmp_path, resume=resume)
        shorter = {name: value[1:] for name, value in data.items()}
        with pytest.raises(ValueError, match=r"rows is 40 there and 39 here"):
            quiet(new_model(), shorter, epochs=1, out=tmp_path, resume=resume)


def composed(posterior=None, objective=None):
    torch.manual_seed(0)
    both = [Modality(name, (2,), likelihoods.Normal()) for name in "ab"]
    posterior, objective = posterior or Product(False), objective or TotalCorrelation()
    return models.MultimodalVAE(both, 2, joint_posterior=posterior, objective=objective)


@pytest.mark.parametrize(
    ("posterior", "objective", "message"),
    [
        (None, TotalCorrelation(0.1), "objective.alpha is 0.9 there and 0.1 here"),
        (None, TotalCorrelation(beta=LinearWarmup()), "objective.beta is 1.0 there and a LinearWarmup here"),
        (None, SubsetELBO(), "objective is a TotalCorrelation there and a SubsetELBO here"),
        (Product(True), None, "joint_posterior.prior_expert is False there and True here"),
    ],
)
def test_a_run_is_resumed_under_its_own_parts_alone(tmp_path, posterior, objective, message):
    data = {name: torch.randn(20, 2) for name in "ab"}
    quiet(composed(), data, epochs=1, out=tmp_path)
    with pytest.raises(ValueError, match=f"another configuration: {message}"):
        quiet(composed(posterior, objective), data, epochs=2, out=tmp_path, resume=True)
    assert quiet(composed(), data, epochs=2, out=tmp_path, resume=True).metrics[-1]["epoch"] == 2


def sgd(rate, momentum=0.0):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=momentum)


def in_groups(parameters):
    parameters = list(parameters)
    return torch.optim.SGD([{"params": parameters[:3]}, {"params": parameters[3:], "lr": 0.5}], lr=0.1)


def in_other_groups(parameters):
    parameters = list(parameters)
    return torch.optim.SGD([{"params": parameters[:4]}, {"params": parameters[4:], "lr": 0.5}], lr=0.1)


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (sgd(0.1), sgd(0.01), "optimizer.groups.0.lr is 0.1 there and 0.01 here"),
        (sgd(0.1), sgd(0.1, 0.9), "optimizer.groups.0.momentum is 0.0 there and 0.9 here"),
        (sgd(0.1), lambda p: torch.optim.Adam(p, lr=0.1), "optimizer is a SGD there and a Adam here"),
        (in_groups, in_other_groups, "optimizer.groups.0.tensors is 3 there and 4 here"),
    ],
)
def test_the_hyper_parameters_of_an_optimiser_decide_and_not_its_name(new_model, data, tmp_path, first, then, message):
    quiet(new_model(), data, epochs=1, optimizer=first, out=tmp_path)
    with pytest.raises(ValueError, match=f"another configuration: {message}"):
        quiet(new_model(), data, epochs=2, optimizer=then, out=tmp_path, resume=True)
    quiet(new_model(), data, epochs=2, optimizer=first, out=tmp_path, resume=True)


def test_the_factors_of_a_schedule_decide_and_not_its_name(new_model, data, tmp_path):
    quiet(new_model(), data, epochs=2, schedule=lambda done: 1 - done, out=tmp_path)
    with pytest.raises(ValueError, match=r"schedule_factors.1 is 0.9375 there and 0.875 here"):
        quiet(new_model(), data, epochs=2, schedule=lambda done: 1 - 2 * done, out=tmp_path, resume=True)


class Reading(torch.utils.data.Dataset):
    """A user's dataset, which gives the same at every reading unless it draws."""

    def __init__(self, data, draws=None):
        self.data, self.draws = data, draws

    def __len__(self):
        return len(self.data["image"])

    def __getitem__(self, row):
        noise = 0 if self.draws is None else torch.randn(2, 3, generator=self.draws)
        return {"image": self.data["image"][row] + noise, "text": self.data["text"][row]}


def changed(data, rows=slice(None)):
    image = data["image"].clone()
    image[rows] += 1
    return {**data, "image": image}


@pytest.mark.parametrize("kind", [dict, Reading, MultimodalDataset])
def test_other_data_of_the_same_size_is_refused_by_name(new_model, data, tmp_path, kind):
    def of(values):
        every = {name: torch.arange(len(value)) for name, value in values.items()}
        return MultimodalDataset(values, every) if kind is MultimodalDataset else kind(values)

    quiet(new_model(), of(data), epochs=1, out=tmp_path)
    for rows in (slice(None), slice(0, 1), slice(-1, None)):
        with pytest.raises(ValueError, match=r"data: the values of 'image' are not those with which the run began"):
            quiet(new_model(), of(changed(data, rows)), epochs=2, out=tmp_path, resume=True)
    copied = {name: value.clone() for name, value in data.items()}
    quiet(new_model(), of(copied), epochs=2, out=tmp_path, resume=True)


def test_other_masks_validation_data_and_labels_are_refused(new_model, data, new_data, tmp_path):
    mask = torch.arange(40) % 2 == 0
    options = {"observed": {"image": mask}, "validation": new_data(8)}
    quiet(new_model(), data, epochs=1, out=tmp_path, **options)
    for change, message in [
        ({"observed": {"image": ~mask}}, "data: the values of 'image'"),
        ({"validation": new_data(8, seed=2)}, "validation_data: the values of 'image'"),
    ]:
        with pytest.raises(ValueError, match=message):
            quiet(new_model(), data, epochs=2, out=tmp_path, resume=True, **(options | change))
    behind = torch.where(mask[:, None, None], data["image"], torch.tensor(7.0))  # what a mask hides does not count
    quiet(new_model(), {**data, "image": behind}, epochs=2, out=tmp_path, resume=True, **options)


def test_other_labels_are_refused(tmp_path):
    case = CASES["LateFusion"]
    torch.manual_seed(0)
    data, labels = case.data(), torch.arange(8) % 3
    quiet(case.model(), data, labels=labels, epochs=1, out=tmp_path)
    with pytest.raises(ValueError, match=r"labels are not those with which the run began"):
        quiet(case.model(), data, labels=labels.flip(0), epochs=2, out=tmp_path, resume=True)


def test_other_covariates_are_refused(tmp_path):
    def make():
        torch.manual_seed(0)
        both = [Modality(name, (2,), likelihoods.Normal()) for name in "ab"]
        return models.MultimodalVAE(
            both, 2, joint_posterior=Product(False), objective=TotalCorrelation(), covariates={"batch": 2, "age": None}
        )

    data = {name: torch.linspace(-1, 1, 40).reshape(20, 2) for name in "ab"}
    known = {"batch": torch.arange(20) % 2, "age": torch.linspace(0, 1, 20)}
    quiet(make(), data, covariates=known, epochs=1, out=tmp_path)
    for name, value in known.items():
        other = known | {name: value.flip(0)}
        with pytest.raises(ValueError, match=rf"covariates: the values of {name!r} are not those with which"):
            quiet(make(), data, covariates=other, epochs=2, out=tmp_path, resume=True)
    quiet(make(), data, covariates=known, epochs=2, out=tmp_path, resume=True)


def test_data_that_is_drawn_anew_has_no_digest_and_is_not_read_ahead(new_model, data, tmp_path, assert_same):
    def drawing():
        return Reading(data, torch.Generator().manual_seed(3))

    quiet(new_model(), drawing(), epochs=1, out=tmp_path)
    quiet(new_model(), drawing(), epochs=2, out=tmp_path, resume=True)


def test_large_data_is_told_apart_by_evenly_spread_rows():
    value = torch.zeros(5000, 1000)  # 20 MB
    words = data_in_words(InMemory(Batch({"a": value})))
    value[-1, 3] = 1
    assert data_in_words(InMemory(Batch({"a": value}))) != words
    assert data_in_words(InMemory(Batch({"a": value[:-1]}))) != words


def test_a_run_of_format_1_is_not_resumed(tmp_path):
    shutil.copytree(Path(__file__).parent / "format_1" / "run", tmp_path / "run")
    data = {name: torch.randn(4, 2) for name in "ab"}
    vae = mmvae.load(tmp_path / "run")
    with pytest.raises(ValueError, match=r"a run that mmvae 0.1.0 began in format 1.* mmvae.load reads its weights"):
        quiet(vae, data, epochs=2, out=tmp_path / "run", resume=True)


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
