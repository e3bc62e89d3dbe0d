"""One run at a time in a folder, and a lock that goes with the process that holds it."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import mmvae
from mmvae.training import lock as locks
from mmvae.training.lock import LOCK_FILE, RunLock

HOLD = """
import sys, time
from pathlib import Path
from mmvae.training.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """Another process that holds the lock of a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lock_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    with RunLock(tmp_path / "deep" / "run") as lock:
        owner = json.loads((tmp_path / "deep" / "run" / LOCK_FILE).read_text())
        assert owner["process"] == os.getpid()
        assert {"host", "started", "since", "token"} <= set(owner)
        with pytest.raises(ValueError, match=rf"a run is under way in {tmp_path}.*process {os.getpid()} on"):
            RunLock(tmp_path / "deep" / "run").__enter__()
    assert list((tmp_path / "deep" / "run").iterdir()) == []
    assert lock not in locks._held or lock._file is None


def test_another_process_is_refused(holder: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"process {holder.pid} on .* choose another folder") as info:
        RunLock(tmp_path).__enter__()
    assert f"delete {tmp_path / LOCK_FILE}" in str(info.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_is_taken_over_at_once(holder: Any, tmp_path: Path, number: int) -> None:
    holder.send_signal(number)
    holder.wait()
    assert (tmp_path / LOCK_FILE).exists()
    started = time.monotonic()
    with RunLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["process"] == os.getpid()
    assert time.monotonic() - started < 5


def test_a_worker_does_not_hold_the_lock_of_a_dead_process(tmp_path: Path) -> None:
    script = HOLD.replace(
        "    time.sleep(60)", "    import os\n    if os.fork() == 0: time.sleep(60)\n    os.kill(0, 0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with RunLock(tmp_path):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def elsewhere(folder: Path, **changes: Any) -> Path:
    """The lock of a process on another machine."""
    path = folder / LOCK_FILE
    owner = {"host": "far", "process": 1, "started": "1", "boot": "another", "processes": "pid:[1]", "since": "today"}
    path.write_text(json.dumps({**owner, **changes}))
    return path


def test_a_lock_of_another_machine_that_was_not_touched_for_long_is_taken_over_at_once(tmp_path: Path) -> None:
    path = elsewhere(tmp_path)
    os.utime(path, (1, 1))
    started = time.monotonic()
    with RunLock(tmp_path):
        assert time.monotonic() - started < 5


def test_a_lock_of_another_machine_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_SILENCE", 1.0)
    monkeypatch.setattr(locks, "_LOOK", 0.05)
    elsewhere(tmp_path)
    with RunLock(tmp_path):  # nobody touched it
        pass
    path, done = elsewhere(tmp_path), threading.Event()

    def beat() -> None:
        while not done.wait(0.2):
            os.utime(path)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(ValueError, match=r"process 1 on far, since today"):
            RunLock(tmp_path).__enter__()
    finally:
        done.set()
        heart.join()
    assert path.exists()


def test_a_holder_touches_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_BEAT", 0.05)
    with RunLock(tmp_path):
        first = (tmp_path / LOCK_FILE).stat().st_mtime_ns
        time.sleep(0.5)
        assert (tmp_path / LOCK_FILE).stat().st_mtime_ns > first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"process": null}', "\x00" * 100])
def test_a_lock_whose_holder_was_killed_while_it_signed_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_FILE).write_text(content)
    os.utime(tmp_path / LOCK_FILE, (1, 1))
    with RunLock(tmp_path):
        pass


@pytest.fixture
def _without_locks_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(locks, "_LOOK", 0.05)


@pytest.mark.usefixtures("_without_locks_of_the_system")
def test_without_locks_of_the_system_the_process_decides(holder: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"process {holder.pid} on"):
        RunLock(tmp_path).__enter__()
    holder.kill()
    holder.wait()
    with RunLock(tmp_path), pytest.raises(ValueError, match=rf"process {os.getpid()} on"):
        RunLock(tmp_path).__enter__()
    assert not (tmp_path / LOCK_FILE).exists()


@pytest.mark.usefixtures("_without_locks_of_the_system")
def test_a_process_of_the_same_number_that_started_later_is_another(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        mine = json.loads((tmp_path / LOCK_FILE).read_text())
    (tmp_path / LOCK_FILE).write_text(json.dumps({**mine, "started": "1"}))
    with RunLock(tmp_path):
        pass


def contend(folder: str, found: Any, start: Any) -> None:
    start.wait()
    held = []
    for _ in range(20):
        try:
            with RunLock(Path(folder)):
                began = time.monotonic()
                time.sleep(0.02)
                held.append((began, time.monotonic()))
        except ValueError:
            time.sleep(0.01)
    found.put(held)


def test_of_many_that_begin_together_one_at_a_time_holds_a_lock_that_was_left(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    elsewhere(tmp_path)
    os.utime(tmp_path / LOCK_FILE, (1, 1))
    found, start = context.Queue(), context.Event()
    processes = [context.Process(target=contend, args=(str(tmp_path), found, start)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    held = sorted(span for _ in processes for span in found.get(timeout=60))
    for process in processes:
        process.join()
    assert len(held) >= 5
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(held))
    assert list(tmp_path.iterdir()) == []


# Runs.


def test_two_runs_in_one_folder_are_refused(new_model: Any, data: Any, tmp_path: Path, holder: Any) -> None:
    with pytest.raises(ValueError, match=rf"out: a run is under way in {tmp_path} \(process {holder.pid}"):
        mmvae.fit(new_model(), data, epochs=1, out=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_run_within_a_run_is_refused(new_model: Any, data: Any, tmp_path: Path) -> None:
    model = new_model()
    inner = model.objective

    def objective(owner: Any, batch: Any) -> Any:
        with pytest.raises(ValueError, match=r"a run is under way"):
            mmvae.fit(new_model(), data, epochs=1, out=tmp_path, resume=True, progress=False)
        return inner(owner, batch)

    model.objective = objective
    mmvae.fit(model, data, epochs=1, batch_size=40, out=tmp_path, progress=False)
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_run_that_fails_gives_the_folder_back(new_model: Any, data: Any, tmp_path: Path) -> None:
    model = new_model()
    model.objective = lambda owner, batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        mmvae.fit(model, data, epochs=1, out=tmp_path, progress=False)
    assert not (tmp_path / LOCK_FILE).exists()
    mmvae.fit(new_model(), data, epochs=1, out=tmp_path, resume=True, progress=False)
