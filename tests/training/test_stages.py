"""Training in stages: what learns, from where, judged by what; and exact resumption within and across stages."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training.conftest import make_data, make_model
from training.conftest import weights as copied_weights
from training.test_processes import start

import mmvae
from mmvae import models
from mmvae.modality import RESERVED_NAMES
from mmvae.objectives import AlignedELBO, Judge, LinearWarmup, Loss, Stage
from mmvae.storage import read_state, read_tensors
from mmvae.training import Run, fit, warmup_cosine
from mmvae.training.checkpoint import Checkpoints
from mmvae.training.journal import metrics_row
from mmvae.training.loop import Loop

quiet = partial(fit, progress=False, batch_size=8, device="cpu")  # five steps an epoch
RECIPES = [models.MVAE, models.MMVAE, models.MoPoE, models.JMVAE, models.MVTCAE, models.IterativeVAE]
JOINT = ("joint_posterior", "decoders")


def in_one_stage(recipe):
    """A recipe whose models name all of their training as a stage."""

    class OneStage(recipe):
        @property
        def stages(self):
            return (Stage("all", [name for name, _ in self.named_children()], self.objective),)

    OneStage.__name__ = recipe.__name__
    return OneStage


class TwoStages(models.JMVAE):
    """The joint posterior first, then the unimodal ones, each with a schedule of its own."""

    @property
    def stages(self):
        return (
            Stage("joint", JOINT, self.wrapped("joint", AlignedELBO(0.0, LinearWarmup(0.5, epochs=2)))),
            Stage("unimodal", ["experts"], self.wrapped("unimodal", AlignedELBO(LinearWarmup(1.0, epochs=2)))),
        )

    def wrapped(self, stage, objective):
        return objective


def unstaged(rows):
    return [{name: value for name, value in row.items() if name not in ("seconds", "stage")} for row in rows]


@pytest.mark.filterwarnings("ignore:.*training diverges")  # the rate is high; runs that spike must be equal as well
@settings(max_examples=12, deadline=None)
@given(
    recipe=st.sampled_from(RECIPES),
    epochs=st.integers(1, 3),
    validation=st.sampled_from([None, 0.25]),
    patience=st.sampled_from([None, 1]),
    beta=st.sampled_from([1.0, LinearWarmup(2.0, epochs=2)]),
    options=st.sampled_from([{}, {"weight_decay": 0.1, "max_grad_norm": 1.0}, {"schedule": warmup_cosine(0.3)}]),
    seed=st.integers(0, 3),
)
def test_one_stage_is_training_without_stages(recipe, epochs, validation, patience, beta, options, seed):
    """Bit for bit: weights, metrics and best epoch."""
    options = {
        **options,
        "validation": validation,
        "patience": patience if validation else None,
        "seed": seed,
        "lr": 0.02,
    }
    plain, staged = (
        quiet(make_model(each, beta=beta), make_data(), epochs=epochs, **options)
        for each in (recipe, in_one_stage(recipe))
    )
    one, other = copied_weights(plain.model), copied_weights(staged.model)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert unstaged(plain.metrics) == unstaged(staged.metrics)
    assert plain.best_epoch == staged.best_epoch


def test_rows_name_their_stage_and_epochs_go_on(new_model, data, tmp_path):
    run = quiet(new_model(TwoStages), data, epochs={"joint": 2, "unimodal": 1}, validation=0.25, out=tmp_path)
    expected = [(1, "joint"), (2, "joint"), (3, "unimodal")]
    assert [(row["epoch"], row["stage"]) for row in run.metrics if row["split"] == "train"] == expected
    again = Run.load(tmp_path, new_model(TwoStages))
    assert (again.metrics, again.best_epoch) == (run.metrics, run.best_epoch)
    assert run.best_epoch == 3
    assert [
        len(quiet(new_model(TwoStages), data, epochs=each).metrics) for each in (2, {"joint": 0, "unimodal": 1})
    ] == [4, 1]


def with_memory(model):
    """A model whose parts have dropout and running statistics."""
    encoder, decoder = model.experts.encoders["image"], model.decoders["image"]
    model.experts.encoders["image"] = torch.nn.Sequential(encoder, torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.3))
    model.joint_posterior.trunks["image"].append(torch.nn.BatchNorm1d(256)).append(torch.nn.Dropout(0.3))
    model.decoders["image"] = torch.nn.Sequential(torch.nn.BatchNorm1d(3), decoder)
    return model


def test_parts_learn_in_their_stage_and_are_frozen_in_others(new_model, data):
    model = with_memory(new_model(TwoStages))
    seen = []

    class Noting:
        def epoch(self, rows, _):
            seen.append((rows[0]["stage"], copied_weights(model)))

    model.experts.encoders["text"].requires_grad_(False)  # by the user: it stays so in its own stage, too
    flags = {name: each.requires_grad for name, each in model.named_parameters()}
    model.decoders["image"].eval()
    modes = [part.training for part in model.modules()]
    states = []

    def optimizer(parameters):
        states.append({id(each) for each in parameters})
        return torch.optim.Adam(parameters, lr=0.05)

    before = copied_weights(model)
    quiet(model, data, epochs=2, optimizer=optimizer, watch=[Noting()])
    (_, _), (_, joint), (_, _), (_, both) = seen

    def changed(one, other):
        names = [name for name in one if not torch.equal(one[name], other[name])]
        return {name.split(".")[0] for name in names} - {"epoch", "seen"}

    assert [stage for stage, _ in seen] == ["joint", "joint", "unimodal", "unimodal"]
    assert changed(before, joint) == {"joint_posterior", "decoders", "transforms"}  # the last come from the data
    assert changed(joint, both) == {"experts"}
    assert {name: each.requires_grad for name, each in model.named_parameters()} == flags
    assert [part.training for part in model.modules()] == modes
    ids = {id(each): name for name, each in model.named_parameters()}
    learned = [{ids[each].split(".")[0] for each in state} for state in states]
    assert learned == [{"joint_posterior", "decoders"}, {"experts"}]
    assert not any(ids[each].startswith("experts.encoders.text") for each in states[1])


def test_frozen_parts_are_in_evaluation_mode_while_others_learn(new_model, data):
    class Noted(TwoStages):
        modes = []  # noqa: RUF012 (noted by the class, as stages are made anew)

        def wrapped(self, stage, objective):
            def call(model, batch):
                norms = {
                    name.split(".")[0]: each
                    for name, each in model.named_modules()
                    if isinstance(each, torch.nn.BatchNorm1d)
                }
                self.modes.append((stage, model.training, {name: each.training for name, each in norms.items()}))
                return objective(model, batch)

            return call

    quiet(with_memory(new_model(Noted)), data, epochs=1, batch_size=40, validation=0.25)
    joint = {"experts": False, "joint_posterior": True, "decoders": True}
    unimodal = {"experts": True, "joint_posterior": False, "decoders": False}
    nothing = dict.fromkeys(joint, False)
    expected = [
        ("joint", True, joint),
        ("joint", False, nothing),
        ("unimodal", True, unimodal),
        ("unimodal", False, nothing),
    ]
    assert Noted.modes == expected


def test_a_stage_checks_what_its_model_checks(new_model, data):
    """Joint networks need every modality, whatever the objective of the stage."""
    model = new_model(TwoStages)
    own = model.objective
    with pytest.raises(ValueError, match=r"incomplete"):
        quiet(model, data, epochs=1, observed={"image": torch.arange(40) > 3})
    assert model.objective is own
    assert all(each.requires_grad for each in model.parameters())


def test_the_objective_of_a_stage_is_that_of_the_model_meanwhile(new_model, data):
    seen = []

    class Noting:
        def epoch(self, rows, model):
            seen.append(model.objective)

        def end(self, run):
            seen.append(run.model.objective)

    class Kept(TwoStages):
        @functools.cached_property
        def stages(self):
            return super().stages

    model = new_model(Kept)
    own = model.objective
    quiet(model, data, epochs=1, watch=[Noting()])
    assert seen == [*(stage.objective for stage in model.stages), own]
    assert model.objective is own


def test_a_classifier_learns_its_own_loss_in_stages():
    """The head first, then all of it."""

    class HeadFirst(models.LateFusion):
        staged = None

        @property
        def stages(self):
            return (Stage("head", ["head"], self.staged), Stage("all", ["encoders", "head"]))

    def make():
        torch.manual_seed(0)
        sizes = {"dim": 8, "depth": 1, "heads": 2}
        encoders = {name: mmvae.nn.TextTransformer(5, 4, **sizes) for name in ("a", "b")}
        return HeadFirst(encoders, 3)

    data = {name: torch.randint(1, 5, (24, 4)) for name in ("a", "b")}
    options = {"labels": torch.arange(24) % 3, "validation": 0.25}
    model = make()
    before = copied_weights(model)
    run = quiet(model, data, epochs={"head": 1, "all": 0}, **options)
    changed = {
        name.split(".")[0] for name, value in copied_weights(model).items() if not torch.equal(value, before[name])
    }
    assert changed == {"head", "epoch", "seen"}
    run = quiet(model, data, epochs=2, **options)
    rows = [row for row in run.metrics if (row["split"], row["stage"]) == ("validation", "all")]
    assert run.best_epoch == min(rows, key=lambda row: row["task"])["epoch"]
    model = make()
    model.staged = lambda owner, batch: owner.loss(batch)
    with pytest.raises(ValueError, match=r"stage 'head': HeadFirst has no objective .* leave objective= out"):
        quiet(model, data, epochs=1, **options)


def test_dotted_parts_learn_alone(new_model, data):
    class Dotted(models.JMVAE):
        @property
        def stages(self):
            return (Stage("one", ["decoders.image", "experts.encoders"], self.objective),)

    model = new_model(Dotted)
    before = copied_weights(model)
    quiet(model, data, epochs=1)
    changed = {name for name, value in copied_weights(model).items() if not torch.equal(value, before[name])}
    allowed = ("decoders.image", "experts.encoders", "epoch", "seen", "transforms")  # the last come from the data
    assert {name for name in changed if not name.startswith(allowed)} == set()
    assert any(name.startswith("decoders.image") for name in changed)


def test_schedules_begin_with_their_stage_and_the_model_counts_all_epochs(new_model, data):
    seen = []

    class Spied(TwoStages):
        def wrapped(self, stage, objective):
            def call(model, batch):
                seen.append((stage, model.epoch.item()))
                return objective(model, batch)

            return call

    model = new_model(Spied)
    watched = []

    class Noting:
        def epoch(self, rows, owner):
            watched.append(owner.epoch.item())

    quiet(model, data, epochs={"joint": 3, "unimodal": 2}, batch_size=40, watch=[Noting()])
    assert seen == [("joint", 0.0), ("joint", 1.0), ("joint", 2.0), ("unimodal", 0.0), ("unimodal", 1.0)]
    assert watched == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert model.epoch == 5.0
    assert {name for name in model.state_dict() if name.startswith("epoch")} == {"epoch"}


def test_learning_rates_begin_anew_with_each_stage(new_model, data):
    done = []

    def schedule(share):
        done.append(share)
        return 1.0

    quiet(new_model(TwoStages), data, epochs={"joint": 2, "unimodal": 4}, batch_size=40, schedule=schedule)
    assert done == [0.0, 0.5, 0.0, 0.25, 0.5, 0.75]


class Scripted(TwoStages):
    """Validation is best after the second epoch of each stage."""

    def wrapped(self, stage, objective):
        best = {"joint": 2.0, "unimodal": 5.0}[stage]  # the second stage begins where the best epoch of the first ended

        def call(model, batch):
            loss = objective(model, batch)
            if model.training:
                return loss
            return Loss(loss.total, {**loss.terms, "elbo": -((model.epoch - best) ** 2)})

        return call


def test_a_stage_begins_with_the_best_weights_of_the_one_before(new_model, data, tmp_path):
    """By its own patience: the first stage ends early, and the second goes on from its best epoch."""
    kept = {}

    class Noting:
        def epoch(self, rows, model):
            kept[rows[0]["epoch"]] = copied_weights(model)

    options = {"epochs": 9, "validation": 0.25, "patience": 2}
    run = quiet(new_model(Scripted), data, out=tmp_path, watch=[Noting()], **options)
    stages = [row["stage"] for row in run.metrics if row["split"] == "validation"]
    assert stages == ["joint"] * 4 + ["unimodal"] * 5  # best after 2, and after 4 + 3 as it counts 2 + 3
    assert run.best_epoch == 7
    final = copied_weights(run.model)
    assert all(torch.equal(value, kept[2][name]) for name, value in final.items() if name.startswith(JOINT))
    assert all(torch.equal(value, kept[7][name]) for name, value in final.items())
    assert run.model.epoch == 5
    latest = quiet(new_model(Scripted), data, watch=[Noting()], restore_best=False, **options)
    final = copied_weights(latest.model)
    assert all(torch.equal(value, kept[4][name]) for name, value in final.items() if name.startswith(JOINT))


def test_stages_are_judged_by_what_they_say(new_model, data, tmp_path):
    class Judged(TwoStages):
        @property
        def stages(self):
            joint, unimodal = super().stages
            return joint, Stage("unimodal", unimodal.learns, unimodal.objective, judged_by="alignment")

    run = quiet(new_model(Judged), data, epochs=4, lr=0.05, validation=0.25, out=tmp_path)
    rows = [row for row in run.metrics if (row["split"], row["stage"]) == ("validation", "unimodal")]
    assert run.best_epoch == min(rows, key=lambda row: row["alignment"])["epoch"]
    recorded = json.loads((tmp_path / "config.json").read_text())["training"]["stages"]
    assert {name: each["judge"]["term"] for name, each in recorded.items()} == {
        "joint": "loss",
        "unimodal": "alignment",
    }
    chosen = quiet(new_model(Judged), data, epochs=3, lr=0.05, validation=0.25, select=Judge("kl", "higher"))
    rows = [row for row in chosen.metrics if (row["split"], row["stage"]) == ("validation", "unimodal")]
    assert chosen.best_epoch == max(rows, key=lambda row: row["kl"])["epoch"]


# Resumption.

OPTIONS = {
    "epochs": {"joint": 2, "unimodal": 3},
    "validation": 0.2,  # 32 rows for training, in four steps; 8 for validation, in one
    "schedule": warmup_cosine(0.3),
    "max_grad_norm": 5.0,
    "lr": 0.02,
}


class Counted:
    """An objective that interrupts after a number of calls, which are counted through all stages."""

    def __init__(self, inner, stop):
        self.inner, self.stop = inner, stop

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __call__(self, model, batch):
        self.stop["calls"] -= 1
        if self.stop["calls"] == 0:
            if self.stop["at_once"]:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C
        return self.inner(model, batch)


class Stoppable(TwoStages):
    stop = None

    def wrapped(self, stage, objective):
        return objective if self.stop is None else Counted(objective, self.stop)


@pytest.fixture(scope="module")
def whole():
    return quiet(make_model(TwoStages), make_data(), **OPTIONS)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("calls", [3, 5, 6, 9, 10, 11, 12, 15, 16, 21, 24, 25])
def test_ctrl_c_anywhere_in_any_stage(whole, tmp_path, assert_same, timeless, calls, at_once):
    """The first stage takes ten calls, four steps and a validation for each epoch; the second fifteen."""
    stopped = make_model(Stoppable)
    stopped.stop = {"calls": calls, "at_once": at_once}
    with pytest.raises(KeyboardInterrupt):
        quiet(stopped, make_data(), out=tmp_path, **OPTIONS)
    again = make_model(Stoppable, seed=9)
    resumed = quiet(again, make_data(), out=tmp_path, resume=True, **OPTIONS)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)
    assert whole.best_epoch == resumed.best_epoch


@pytest.mark.parametrize("is_written", [False, True])
def test_a_kill_between_two_stages(whole, tmp_path, assert_same, timeless, monkeypatch, is_written):
    """Before the checkpoint with which a stage begins, and after it."""
    inner = Loop._advance

    def killed(self):
        if is_written:
            inner(self)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_advance", killed)
        with pytest.raises(SystemExit):
            quiet(make_model(TwoStages), make_data(), out=tmp_path, **OPTIONS)
    assert Checkpoints(tmp_path).read()["stages"]["at"] == is_written
    resumed = quiet(make_model(TwoStages, seed=9), make_data(), out=tmp_path, resume=True, **OPTIONS)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)


def test_a_finished_run_of_stages_is_given_back_and_its_last_stage_goes_on(tmp_path, assert_same, timeless):
    options = {**OPTIONS, "schedule": None}
    whole = quiet(make_model(TwoStages), make_data(), **options)
    shorter = {**options, "epochs": {"joint": 2, "unimodal": 1}}
    first = quiet(make_model(TwoStages), make_data(), out=tmp_path, **shorter)
    again = quiet(make_model(TwoStages, seed=9), make_data(), out=tmp_path, resume=True, **shorter)
    assert_same(first.model, again.model)
    assert (first.metrics, first.best_epoch) == (again.metrics, again.best_epoch)
    longer = quiet(make_model(TwoStages, seed=9), make_data(), out=tmp_path, resume=True, **options)
    assert_same(whole.model, longer.model)
    assert timeless(whole) == timeless(longer)
    changed = {**options, "epochs": {"joint": 4, "unimodal": 3}}
    with pytest.raises(ValueError, match=r"stage 'joint' .* is over; it was planned with 2 epochs and cannot have 4"):
        quiet(make_model(TwoStages), make_data(), out=tmp_path, resume=True, **changed)


def test_a_watcher_stops_all_stages_and_the_run_goes_on_later(whole, tmp_path, assert_same):
    class Stops:
        def epoch(self, rows, model):
            return "stop"

    stopped = quiet(make_model(TwoStages), make_data(), out=tmp_path, watch=[Stops()], **OPTIONS)
    assert len(stopped.metrics) == 2
    assert_same(whole.model, quiet(make_model(TwoStages), make_data(), out=tmp_path, resume=True, **OPTIONS).model)


def test_other_stages_do_not_continue_a_run(tmp_path):
    quiet(make_model(TwoStages), make_data(), epochs=1, out=tmp_path)

    class Other(models.JMVAE):
        @property
        def stages(self):
            return (Stage("joint", ["decoders"], self.objective), Stage("unimodal", ["experts"], self.objective))

    Other.__name__ = Other.__qualname__ = "TwoStages"
    with pytest.raises(
        ValueError, match=r"stages.joint.learns is \['joint_posterior', 'decoders'\] there and \['decoders'\]"
    ):
        quiet(make_model(Other), make_data(), epochs=1, out=tmp_path, resume=True)


# What is refused.


@pytest.mark.parametrize(
    ("epochs", "error", "message"),
    [
        (
            {"joint": 1},
            ValueError,
            r"stage 'unimodal' is missing. Pass a number, or epochs={'joint': ..., 'unimodal': ...}",
        ),
        ({"joint": 1, "students": 1}, ValueError, r"no stage 'students' and stage 'unimodal' is missing"),
        ({"joint": 0, "unimodal": 0}, ValueError, r"expected at least 1 in one of the stages, got 0 in all"),
        ({"joint": -1, "unimodal": 1}, ValueError, r"epochs\['joint'\]: expected at least 0, got -1"),
        ({"joint": 1.5, "unimodal": 1}, TypeError, r"epochs\['joint'\]: expected a whole number, got 1.5"),
        (0, ValueError, r"expected at least 1"),
    ],
)
def test_epochs_that_do_not_fit_the_stages(new_model, data, epochs, error, message):
    with pytest.raises(error, match=message):
        quiet(new_model(TwoStages), data, epochs=epochs)


def test_epochs_by_stage_need_stages(new_model, data):
    with pytest.raises(ValueError, match=r"epochs: this model has no stages; pass a number"):
        quiet(new_model(), data, epochs={"joint": 1})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda model: [Stage("a", ["sound"], model.objective)],
            ValueError,
            r"no part 'sound'. Its parts are .*'decoders'",
        ),
        (lambda model: [Stage("a", ["names"], model.objective)], ValueError, r"no part 'names'"),
        (lambda model: [Stage("a", ["experts"], model.objective)] * 2, ValueError, r"two of them have the same name"),
        (lambda model: [Stage("a", ["likelihoods"], model.objective)], ValueError, r"stage 'a': nothing learns"),
        (
            lambda model: [Stage("a", "experts", model.objective)],
            TypeError,
            r"stage 'a': learns must be a tuple of names",
        ),
        (lambda model: [Stage("a", [], model.objective)], ValueError, r"stage 'a': no part learns"),
        (lambda model: [Stage("", ["experts"], model.objective)], ValueError, r"name must not be empty"),
        (lambda model: [Stage("a", ["experts"], model.objective, "mine")], ValueError, r"Pass mmvae.objectives.Judge"),
        (
            lambda model: [
                Stage("a", ["decoders"], model.objective),
                Stage("b", ["experts"], model.objective, Judge("mine", "lower")),
            ],
            ValueError,
            r"no term 'mine' is recorded",
        ),
    ],
)
def test_stages_that_cannot_be_trained_are_refused_before_training(new_model, data, make, error, message):
    class Wrong(models.JMVAE):
        @property
        def stages(self):
            return tuple(make(self))

    model = new_model(Wrong)
    with pytest.raises(error, match=message):
        quiet(model, data, epochs=1, validation=0.25)
    assert all(each.grad is None for each in model.parameters())
    assert all(each.requires_grad for each in model.parameters())


def test_the_display_names_the_stage(new_model, data, capsys):
    fit(new_model(TwoStages), data, epochs=1, device="cpu")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["joint, epoch 1/2", "unimodal, epoch 2/2"]


# The model of the library that has stages.


def test_the_students_of_an_iterative_vae_learn_after_the_joint_posterior(new_model, data, tmp_path, assert_same):
    data["text"][:, 1:] = data["text"][:, :1]
    kept = {}

    class Noting:
        def epoch(self, rows, model):
            kept[rows[0]["epoch"]] = copied_weights(model)

    options = {"num_steps": 1, "beta": LinearWarmup(0.5, epochs=2), "students": "after"}
    model = new_model(models.IterativeVAE, **options)
    before = copied_weights(model)
    epochs = {"joint": 3, "students": 6}
    run = quiet(model, data, epochs=epochs, lr=0.02, validation=0.25, out=tmp_path, watch=[Noting()])
    validated = [row for row in run.metrics if row["split"] == "validation"]
    joint, students = validated[:3], validated[3:]
    best = min(joint, key=lambda row: row["loss"])["epoch"]
    final = copied_weights(model)
    names = {name for name in final if name != "epoch"}
    assert all(torch.equal(kept[best][name], before[name]) for name in names if name.startswith("experts"))
    assert all(torch.equal(final[name], kept[best][name]) for name in names if not name.startswith("experts"))
    assert len({row["elbo"] for row in students}) == 1  # the teacher is the same, after a warm-up of beta too
    assert run.best_epoch == min(students, key=lambda row: row["alignment"])["epoch"] > 4
    assert_same(mmvae.load(tmp_path), model)
    assert Run.load(tmp_path).best_epoch == run.best_epoch
    assert models.IterativeVAE.on(model).stages == ()


# Whole processes.

STAGED = """
    from mmvae.objectives import AlignedELBO, Stage
    class Staged(models.JMVAE):
        @property
        def stages(self):
            joint = Stage("joint", ["joint_posterior", "decoders"], AlignedELBO(0.0))
            return joint, Stage("unimodal", ["experts"], AlignedELBO(1.0))
    vae = Staged(vae.modalities, latent_dim=2, trunk_width=6, hidden=6)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_in_its_second_stage_continues(tmp_path, assert_same):
    body = """
    mmvae.fit(vae, data, epochs={"joint": 2, "unimodal": int(sys.argv[3])}, batch_size=8, validation=0.25,
              out=sys.argv[1], resume=True, progress=False, device="cpu", checkpoint_seconds=0.0)
    """
    body = STAGED + body
    folder, checkpoint = tmp_path / "killed", tmp_path / "killed" / "checkpoints" / "last.safetensors"
    process = start(tmp_path, body, folder, 0, 100000)
    deadline = time.monotonic() + 120
    while not (checkpoint.exists() and read_state(checkpoint)["epoch"] >= 4):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    state = read_state(checkpoint)
    assert state["stages"]["at"] == 1
    epochs = state["epoch"] - 2 + 2
    assert start(tmp_path, body, folder, 9, epochs).wait() == 0
    assert start(tmp_path, body, tmp_path / "whole", 0, epochs).wait() == 0
    one, other = (read_state(path / "checkpoints" / "last.safetensors") for path in (folder, tmp_path / "whole"))
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())
    assert [row["loss"] for row in one["rows"]] == [row["loss"] for row in other["rows"]]


@pytest.mark.slow
def test_two_processes_train_in_stages_and_resume(tmp_path):
    body = """
    for name in (sys.argv[1], sys.argv[1] + "-parts"):
        for epochs in ((3,) if name == sys.argv[1] else (1, 3)):
            torch.manual_seed(0)
            vae = Staged(vae.modalities, latent_dim=2, trunk_width=6, hidden=6)
            mmvae.fit(vae, data, epochs={"joint": 2, "unimodal": epochs}, batch_size=8, device="cpu", devices=2,
                      progress=False, out=name, validation=0.25, resume=True)
    mmvae.save(vae, sys.argv[1] + "-" + os.environ.get("LOCAL_RANK", "0"))
    """
    assert start(tmp_path, STAGED + body, tmp_path / "run", 0).wait(timeout=200) == 0
    states = [read_state(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("run", "run-parts")]
    assert [row["stage"] for row in states[0]["rows"]] == ["joint"] * 4 + ["unimodal"] * 6
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name])
    ranks = [read_tensors(tmp_path / f"run-{rank}" / "model.safetensors")[0] for rank in (0, 1)]
    assert all(torch.equal(value, ranks[1][name]) for name, value in ranks[0].items())


def test_no_modality_may_bear_the_name_of_a_column():
    row = metrics_row(1, "train", "joint", {"loss": 1.0}, 0.5)
    assert row["stage"] == "joint"
    assert row.keys() <= RESERVED_NAMES
