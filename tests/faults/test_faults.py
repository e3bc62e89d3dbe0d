"""The short form of the experiments with faults; ``make faults`` runs the long one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from faults import kills, mutations
from faults.harness import Count, Experiment, do, train, undisturbed

import mmvae.storage
from mmvae.training.loop import Loop

EXPERIMENTS = [*kills.EXPERIMENTS, *mutations.EXPERIMENTS]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.title)
def test_no_fault_goes_unnoticed_or_is_beyond_repair(experiment: Experiment) -> None:
    count = Count()
    for seed in range(experiment.short):
        do(experiment, count, seed)
    assert count.faults == []


# The experiments themselves.


def faults_of(experiment: Experiment, trials: int) -> list[str]:
    count = Count()
    for seed in range(trials):
        do(experiment, count, seed)
    return count.faults


def titled(title: str) -> Experiment:
    return next(each for each in EXPERIMENTS if each.title.startswith(title))


def test_the_experiments_notice_that_no_digest_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    mutations.known("model")
    monkeypatch.setattr(mmvae.storage, "_digest_of", lambda *_: _Anything())
    assert any("other values, without a word" in fault for fault in faults_of(titled("changed bytes: model"), 40))


class _Anything:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_the_experiments_notice_a_run_that_draws_otherwise_after_it_was_resumed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    undisturbed(False)
    kills.end_of(kills.in_child(lambda: killed_in(tmp_path, epoch=2)))
    monkeypatch.setattr("mmvae.training.loop.set_random_state", lambda state: None)
    assert kills.finished(tmp_path, False) == "resumed to other weights or metrics"


def test_the_experiments_notice_weights_that_are_not_the_newest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    undisturbed(False)
    kills.end_of(kills.in_child(lambda: killed_in(tmp_path, epoch=2)))
    assert kills.newest_loads(tmp_path, False) is None
    monkeypatch.setattr("mmvae.training.saving.position_in", lambda metadata: None)  # load looks at no checkpoint
    assert kills.newest_loads(tmp_path, False) == "load gave other weights than those of the newest checkpoint"


def killed_in(folder: Path, epoch: int) -> None:
    """A run that is killed between the checkpoint of an epoch and its weights."""
    write = Loop._write_weights

    def stale(self: Any) -> None:
        if self._epoch == epoch:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self)

    Loop._write_weights = stale  # type: ignore[method-assign]
    train(folder)
