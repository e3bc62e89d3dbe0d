"""What follows a training run from outside: it hears all, changes nothing, and may stop it."""

from __future__ import annotations

import json
import random
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training.interrupting import interrupt
from training.test_processes import start

from mmvae.training import Run, Watcher, fit
from mmvae.training.checkpoint import Checkpoints

quiet = partial(fit, progress=False, batch_size=8, device="cpu")  # five steps an epoch


class Noting:
    """Notes all calls."""

    def __init__(self):
        self.calls = []

    def begin(self, run):
        self.calls.append(("begin", run))

    def epoch(self, rows, model):
        self.calls.append(("epoch", rows))

    def end(self, run):
        self.calls.append(("end", run))


class StopsAfter(Watcher):
    def __init__(self, epoch):
        self.last = epoch

    def epoch(self, rows, model):
        return "stop" if rows[0]["epoch"] == self.last else None


def test_watchers_hear_of_the_run_its_epochs_and_its_end(model, data, tmp_path):
    watcher = Noting()
    run = quiet(model, data, epochs=2, validation=0.25, out=tmp_path, watch=[watcher])
    (_, begun), *epochs, (_, ended) = watcher.calls
    assert [name for name, _ in watcher.calls] == ["begin", "epoch", "epoch", "end"]
    assert (begun.metrics, begun.path, begun.best_epoch) == ([], tmp_path, None)
    assert begun.model is ended.model is model
    assert [rows for _, rows in epochs] == [run.metrics[:2], run.metrics[2:]]
    assert (ended.metrics, ended.best_epoch) == (run.metrics, run.best_epoch)


@pytest.mark.parametrize("call", ["begin", "epoch", "end"])
def test_each_call_is_optional(model, data, call):
    calls = []
    run = quiet(model, data, epochs=2, watch=[SimpleNamespace(**{call: lambda *_: calls.append(1)}), Watcher()])
    assert len(calls) == (2 if call == "epoch" else 1)
    assert len(run.metrics) == 2


def test_a_stop_ends_training_as_if_all_epochs_were_done(new_model, data, assert_same, timeless, tmp_path, capsys):
    watcher = Noting()
    stopped = fit(
        new_model(),
        data,
        epochs=9,
        batch_size=8,
        device="cpu",
        validation=0.25,
        out=tmp_path,
        watch=[StopsAfter(2), watcher],
    )
    assert "stopped after 2 epochs by the watcher StopsAfter" in capsys.readouterr().err
    assert [name for name, _ in watcher.calls] == ["begin", "epoch", "epoch", "end"]
    whole = quiet(new_model(), data, epochs=2, validation=0.25)
    assert_same(stopped.model, whole.model)
    assert timeless(stopped) == timeless(whole)
    assert stopped.best_epoch == whole.best_epoch
    resumed = quiet(new_model(seed=9), data, epochs=4, validation=0.25, out=tmp_path, resume=True)
    assert_same(resumed.model, quiet(new_model(), data, epochs=4, validation=0.25).model)


class Meddling(Watcher):
    """Draws from every generator, runs the model in both modes, and writes into what it is given."""

    def begin(self, run):
        run.metrics.append({"epoch": 99})
        self.draw()

    def epoch(self, rows, model):
        assert not model.training
        assert not any(part.training for part in model.modules())
        self.draw()
        model.train()
        model.loss({name: torch.as_tensor(value) for name, value in self.data.items()}).total.backward()
        model.sample(3)
        for row in rows:
            row.clear()

    def end(self, run):
        run.metrics.clear()
        self.draw()

    def draw(self):
        torch.randn(3)
        random.random()
        np.random.random()  # noqa: NPY002


def test_watchers_do_not_change_training(new_model, data, assert_same, timeless, tmp_path):
    options = {"epochs": 3, "validation": 0.25}
    plain = quiet(new_model(), data, **options)
    meddling = Meddling()
    meddling.data = data
    watched = quiet(new_model(), data, **options, out=tmp_path, watch=[meddling])
    assert_same(plain.model, watched.model)
    assert timeless(plain) == timeless(watched)
    assert Run.load(tmp_path).metrics == watched.metrics


class Broken:
    def __init__(self, call):
        def fail(*_):
            raise KeyError("the disk is full")

        setattr(self, call, fail)


def test_a_failing_watcher_is_named_and_training_is_kept(new_model, data, assert_same, timeless, tmp_path):
    other = Noting()
    message = r"disk is full(.|\n)*watcher Broken .* epoch\(\)(.|\n)*last.safetensors"
    with pytest.raises(KeyError, match=message) as caught:
        quiet(new_model(), data, epochs=3, out=tmp_path, watch=[other, Broken("epoch")])
    assert isinstance(caught.value, KeyError)
    assert [name for name, _ in other.calls] == ["begin", "epoch", "end"]
    assert Checkpoints(tmp_path).read()["epoch"] == 1
    assert len(Run.load(tmp_path).metrics) == 1
    resumed = quiet(new_model(seed=9), data, epochs=3, out=tmp_path, resume=True)
    whole = quiet(new_model(), data, epochs=3)
    assert_same(resumed.model, whole.model)
    assert timeless(resumed) == timeless(whole)


def test_a_watcher_that_fails_at_the_beginning_ends_those_that_began(model, data):
    first, last = Noting(), Noting()
    with pytest.raises(KeyError, match=r"watcher Broken .* begin\(\)"):
        quiet(model, data, epochs=1, watch=[first, Broken("begin"), last])
    assert [name for name, _ in first.calls] == ["begin", "end"]
    assert last.calls == []


def test_a_watcher_that_fails_at_the_end_does_not_keep_others_from_ending(new_model, data, assert_same, tmp_path):
    other = Noting()
    model = new_model()
    with pytest.raises(KeyError, match=r"watcher Broken .* end\(\)"):
        quiet(model, data, epochs=2, out=tmp_path, watch=[Broken("end"), other])
    assert [name for name, _ in other.calls] == ["begin", "epoch", "epoch", "end"]
    assert_same(model, quiet(new_model(), data, epochs=2).model)


@pytest.mark.parametrize("at_once", [False, True])
def test_watchers_end_after_ctrl_c(new_model, data, at_once):
    watcher = Noting()
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupt(new_model(), 7, at_once=at_once), data, epochs=3, watch=[watcher])
    assert [name for name, _ in watcher.calls] == ["begin", "epoch", "end"]
    assert len(watcher.calls[-1][1].metrics) == 1


def test_a_resumed_run_begins_with_its_earlier_rows(new_model, data, tmp_path):
    first = quiet(new_model(), data, epochs=2, validation=0.25, out=tmp_path)
    watcher = Noting()
    run = quiet(new_model(), data, epochs=3, validation=0.25, out=tmp_path, resume=True, watch=[watcher])
    (_, begun), (_, rows), (_, ended) = watcher.calls
    assert begun.metrics == first.metrics
    assert begun.best_epoch == first.best_epoch
    assert [*begun.metrics, *rows] == ended.metrics == run.metrics


def test_files_lack_no_epoch_when_a_run_dies_before_its_watchers(new_model, data, tmp_path, monkeypatch):
    """The checkpoint of an epoch is written first; a kill right after it costs metrics.csv and TensorBoard no row."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mmvae.training.watchers import Watchers

    inner = Watchers.epoch

    def killed(self, rows, model):
        if rows[0]["epoch"] == 2:
            raise SystemExit
        return inner(self, rows, model)

    with monkeypatch.context() as patch:
        patch.setattr(Watchers, "epoch", killed)
        with pytest.raises(SystemExit):
            quiet(new_model(), data, epochs=3, out=tmp_path)
    assert Checkpoints(tmp_path).read()["epoch"] == 2
    time.sleep(1.1)  # TensorBoard orders its files by the second
    run = quiet(new_model(), data, epochs=3, out=tmp_path, resume=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss/train")
    assert [event.step for event in events] == [1, 2, 3]
    assert [event.value for event in events] == pytest.approx([row["loss"] for row in run.metrics])
    assert Run.load(tmp_path).metrics == run.metrics


@pytest.mark.parametrize(
    ("watch", "error", "message"),
    [
        (Watcher(), TypeError, r"watch: expected a list of watchers, got Watcher; pass watch=\[...\]"),
        ([Noting], TypeError, r"Noting is a class; pass an instance, such as Noting\(\)"),
        ([print], TypeError, r"a method begin, epoch or end, got <built-in function print>"),
        ([SimpleNamespace(epoch=lambda *_: True)], ValueError, r'returned True. Return "stop" to end training'),
        ([SimpleNamespace(epoch=lambda *_: torch.zeros(2))], ValueError, r'returned tensor.* Return "stop"'),
    ],
)
def test_what_is_no_watcher_is_refused(model, data, watch, error, message):
    with pytest.raises(error, match=message):
        quiet(model, data, epochs=1, watch=watch)


@pytest.mark.slow
def test_with_two_processes_the_main_one_watches_and_both_stop(tmp_path):
    body = """
    class Noting:
        def __init__(self): self.calls = []
        def begin(self, run): self.calls.append("begin")
        def end(self, run): self.calls.append("end")
        def epoch(self, rows, model):
            self.calls.append(rows[0]["epoch"])
            return "stop" if rows[0]["epoch"] == 2 else None
    watcher, rank = Noting(), os.environ.get("LOCAL_RANK", "0")
    run = mmvae.fit(vae, data, epochs=9, batch_size=8, device="cpu", devices=2, progress=False, watch=[watcher])
    with open(sys.argv[1] + "-" + rank, "w") as file:
        json.dump([watcher.calls, len(run.metrics)], file)
    """
    assert start(tmp_path, body, tmp_path / "run", 0).wait(timeout=200) == 0
    found = [json.loads((tmp_path / f"run-{rank}").read_text()) for rank in (0, 1)]
    assert found == [[["begin", 1, 2, "end"], 2], [[], 2]]


@pytest.mark.slow
def test_with_two_processes_a_failing_watcher_ends_both(tmp_path):
    body = """
    class Broken:
        def epoch(self, rows, model): raise KeyError("the disk is full")
    rank = os.environ.get("LOCAL_RANK", "0")
    try:
        mmvae.fit(vae, data, epochs=9, batch_size=8, device="cpu", devices=2, progress=False, watch=[Broken()])
    except (KeyError, RuntimeError) as error:
        with open(sys.argv[1] + "-" + rank, "w") as file:
            file.write(repr(error))
    """
    assert start(tmp_path, body, tmp_path / "run", 0).wait(timeout=200) == 0
    assert "the disk is full" in (tmp_path / "run-0").read_text()
    assert "a watcher on the main process failed" in (tmp_path / "run-1").read_text()


def test_optuna_prunes_trials(new_model, data):
    """The exception that prunes a trial goes through fit as it is, in the middle of training."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data["text"][:] = 2  # there is something to learn
    epochs = []

    class Pruning:
        def __init__(self, trial):
            self.trial = trial

        def epoch(self, rows, model):
            epochs.append((self.trial.number, rows[-1]["epoch"]))
            self.trial.report(rows[-1]["elbo"], step=rows[-1]["epoch"])
            if self.trial.should_prune():
                raise optuna.TrialPruned

    def objective(trial):
        lr = (0.05, 1e-9)[trial.number]  # the second learns nothing
        run = quiet(new_model(), data, epochs=4, lr=lr, validation=0.25, watch=[Pruning(trial)])
        return max(row["elbo"] for row in run.metrics if row["split"] == "validation")

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    study.optimize(objective, n_trials=2)
    states = [trial.state for trial in study.trials]
    assert states == [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED]
    assert [step for trial, step in epochs if trial == 0] == [1, 2, 3, 4]
    assert [step for trial, step in epochs if trial == 1][-1] < 4


def test_mlflow_gets_the_rows(model, data, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")

    class MLflow:
        def begin(self, run):
            self.id = mlflow.start_run().info.run_id

        def epoch(self, rows, model):
            for row in rows:
                numbers = {f"{row['split']}/{key}": value for key, value in row.items() if isinstance(value, float)}
                mlflow.log_metrics(numbers, step=row["epoch"])

        def end(self, run):
            mlflow.end_run()

    watcher = MLflow()
    run = quiet(model, data, epochs=2, validation=0.25, watch=[watcher])
    logged = mlflow.MlflowClient().get_metric_history(watcher.id, "validation/elbo")
    expected = [row["elbo"] for row in run.metrics if row["split"] == "validation"]
    assert [(each.step, each.value) for each in logged] == list(enumerate(expected, start=1))
    assert mlflow.active_run() is None
