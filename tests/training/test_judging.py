"""The best epoch, early stopping and the weights that are kept follow one judge."""

from __future__ import annotations

import json
import math
from functools import partial

import pytest
import torch

from mmvae import models
from mmvae.objectives import Judge, LinearWarmup, Loss
from mmvae.training import Run, fit

quiet = partial(fit, progress=False, batch_size=8, device="cpu")


def best(run, term, sign):
    """The first epoch of the best value of a term in validation."""
    rows = [row for row in run.metrics if row["split"] == "validation"]
    return max(rows, key=lambda row: sign * row[term])["epoch"]


@pytest.fixture
def first(new_model, data):
    """A trained first stage."""
    data["text"][:, 1:] = data["text"][:, :1]  # there is something to learn
    return quiet(new_model(models.IterativeVAE, num_steps=1), data, epochs=3, lr=0.01).model


def test_a_second_stage_is_judged_by_what_still_learns(first, data, tmp_path):
    """The decoders are frozen: the ELBO is the same after each epoch, and would keep the students of the first."""
    students = models.IterativeVAE.on(first)
    run = quiet(students, data, epochs=6, validation=0.25, patience=2, lr=0.01, out=tmp_path)
    rows = [row for row in run.metrics if row["split"] == "validation"]
    assert len({row["elbo"] for row in rows}) == 1
    assert run.best_epoch == best(run, "alignment", -1) > 3
    assert len(rows) > 3  # where patience would stop by the ELBO
    assert students.epoch == run.best_epoch
    assert Run.load(tmp_path).best_epoch == run.best_epoch
    assert json.loads((tmp_path / "config.json").read_text())["training"]["judge"]["term"] == "alignment"


@pytest.mark.parametrize("recipe", [models.MVAE, models.MMVAE, models.MoPoE, models.JMVAE, models.MVTCAE])
@pytest.mark.parametrize(
    ("options", "term", "sign"),
    [({"weights": {"image": 1.0, "text": 1.0}}, "elbo", 1), ({"beta": 0.1}, "loss", -1), ({}, "loss", -1)],
)
def test_runs_are_judged_as_their_objective_says(new_model, data, tmp_path, recipe, options, term, sign):
    """The text weighs two by default; MMVAE raises an importance-weighted bound in the place of the ELBO."""
    term = "iwae" if term == "elbo" and recipe is models.MMVAE else term
    run = quiet(new_model(recipe, **options), data, epochs=4, lr=0.05, validation=0.25, out=tmp_path)
    assert run.best_epoch == best(run, term, sign)
    assert Run.load(tmp_path).best_epoch == run.best_epoch


@pytest.mark.parametrize(
    ("select", "term", "sign"),
    [
        ("loss", "loss", -1),
        ("elbo", "elbo", 1),
        ("kl", "kl", -1),
        ("text", "text", 1),
        (Judge("kl", "higher"), "kl", 1),
    ],
)
def test_the_user_names_the_judge(new_model, data, tmp_path, assert_same, select, term, sign):
    options = {"lr": 0.05, "validation": 0.25}
    run = quiet(new_model(), data, epochs=5, select=select, out=tmp_path, **options)
    assert run.best_epoch == best(run, term, sign)
    assert Run.load(tmp_path).best_epoch == run.best_epoch
    assert_same(run.model, quiet(new_model(), data, epochs=run.best_epoch, restore_best=False, **options).model)


def test_early_stopping_follows_the_judge(new_model, data):
    run = quiet(new_model(), data, epochs=30, lr=0.05, validation=0.25, patience=2, select=Judge("kl", "lower"))
    last = run.metrics[-1]["epoch"]
    assert run.best_epoch == best(run, "kl", -1)
    assert last == min(30, run.best_epoch + 2)


def test_the_loss_in_validation_has_the_weights_at_the_end_of_their_schedules(new_model, data):
    """In a warm-up of beta the loss of each epoch would be another one, and the first the lowest."""
    model = new_model(beta=LinearWarmup(end=3.0, epochs=50))
    run = quiet(model, data, epochs=3, validation=0.25, batch_size=40)
    for row in run.metrics:
        if row["split"] == "validation":
            assert row["loss"] == pytest.approx(3.0 * row["kl"] - row["image"] - 2.0 * row["text"], rel=1e-5)
        else:  # one step an epoch, at the beginning of it
            beta = 3.0 * (row["epoch"] - 1) / 50
            assert row["loss"] == pytest.approx(beta * row["kl"] - row["image"] - 2.0 * row["text"], rel=1e-5)
    assert run.best_epoch == best(run, "loss", -1)
    assert model.epoch == run.best_epoch


def test_ctrl_c_in_validation_leaves_the_epoch_of_the_model_as_it_is(new_model, data):
    model = new_model(beta=LinearWarmup(epochs=50))
    inner = model.objective

    class Interrupted:
        judged_by, settled_after = inner.judged_by, inner.settled_after

        def __call__(self, owner, batch):
            if not owner.training:
                raise KeyboardInterrupt
            return inner(owner, batch)

    model.objective = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        quiet(model, data, epochs=3, validation=0.25)
    assert model.epoch == 1


def test_functions_as_objectives_are_judged_by_what_they_record(new_model, data):
    """The ELBO if they name one, otherwise the loss."""
    for name, sign in (("elbo", -1), ("mine", 1)):
        model = new_model()

        def objective(owner, batch, name=name, sign=sign, inner=model.objective):
            loss = inner(owner, batch)
            total = loss.total if owner.training else (owner.epoch - 2.0) ** 2  # lowest in epoch 2
            return Loss(total, {name: -total if sign < 0 else loss.terms["kl"]})

        model.objective = objective
        assert quiet(model, data, epochs=4, validation=0.25).best_epoch == 2


def test_another_judge_does_not_continue_a_run(new_model, data, tmp_path):
    quiet(new_model(), data, epochs=1, validation=0.25, out=tmp_path)
    with pytest.raises(
        ValueError, match=r"judge.term is loss there and kl here|judge.term is 'loss' there and 'kl' here"
    ):
        quiet(new_model(), data, epochs=2, validation=0.25, select="kl", out=tmp_path, resume=True)
    run = quiet(new_model(), data, epochs=2, validation=0.25, select="loss", out=tmp_path, resume=True)
    assert len(run.metrics) == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"select": "kl"}, ValueError, r"select: .* pass validation="),
        ({"select": "sound", "validation": 0.25}, ValueError, r"better. Pass mmvae.objectives.Judge\('sound'"),
        (
            {"select": "alignment", "validation": 0.25},
            ValueError,
            r"no term 'alignment' is recorded. Choose among 'loss'",
        ),
        ({"select": 3, "validation": 0.25}, TypeError, r"select: expected the name of a term, or a Judge, got 3"),
    ],
)
def test_a_judge_that_cannot_be_is_refused_before_training(new_model, data, options, error, message):
    model = new_model()
    with pytest.raises(error, match=message):
        quiet(model, data, epochs=1, **options)
    assert model.epoch == 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_look_at_the_term_changes_no_draws(new_model, data, assert_same):
    one, other = (quiet(new_model(), data, epochs=2, validation=0.25, select=each) for each in (None, "loss"))
    assert_same(one.model, other.model)
    assert all(math.isfinite(row["loss"]) for row in one.metrics)
    assert torch.equal(one.model.epoch, other.model.epoch)
