"""Runs that are killed, starved of disk, or begun twice."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from faults.harness import (
    STEPS,
    Experiment,
    end_of,
    in_child,
    kill_at_operation,
    print_of,
    timeless,
    train,
    undisturbed,
)

from mmvae.training import Run
from mmvae.training.checkpoint import Checkpoints
from mmvae.training.lock import LOCK_FILE

EQUAL = "resumed to equal weights and metrics; load gave the newest weights after each"
SAVED = "saved, and resumed to equal weights and metrics"


def newest_loads(folder: Path, validation: bool) -> str | None:
    """What is wrong with the weights that ``mmvae.load`` gives of a run that was stopped; ``None`` for nothing."""
    at = Checkpoints(folder).position()
    try:
        run = Run.load(folder)
    except FileNotFoundError:
        return None if at in (None, (0, 0)) else f"no weights, but a checkpoint at {at}"
    except ValueError as error:
        return f"raised {error}"
    assert at is not None
    if print_of(run.model.state_dict()) != undisturbed(validation).on_the_way[at]:
        return "load gave other weights than those of the newest checkpoint"
    wanted = [row for row in undisturbed(validation).metrics if row["epoch"] <= at[0]]
    return (
        None if timeless(run.metrics) == wanted else "Run.load gave other metrics than those of the newest checkpoint"
    )


def finished(folder: Path, validation: bool) -> str | None:
    """What is wrong with a run when it is resumed to its end; ``None`` for nothing."""
    run = train(folder, validation)
    known = undisturbed(validation)
    if print_of(run.model.state_dict()) != known.end or timeless(run.metrics) != known.metrics:
        return "resumed to other weights or metrics"
    loaded = Run.load(folder)
    if print_of(loaded.model.state_dict()) != known.end or timeless(loaded.metrics) != known.metrics:
        return "the folder holds other weights or metrics than the run gave"
    # A killed process may leave a temporary file of this library, which a write removes an hour later.
    hidden = [path.name for path in folder.rglob("*") if path.name.startswith(".")]
    left = sorted(name for name in hidden if not name.endswith(".mmvae.tmp"))
    return f"{left[0]} was left behind" if left else None


def chain(random_: random.Random, folder: Path, killed: Callable[[Path, bool], int], good: str) -> str:
    """Kills a run one to three times, looks at the folder after each, and resumes it to its end."""
    validation = random_.random() < 0.5
    undisturbed(validation)  # known before a process is forked off
    for _ in range(random_.randint(1, 3)):
        if killed(folder, validation) == 0:
            break
        if folder.joinpath("config.json").exists():
            fault = newest_loads(folder, validation)
            if fault is not None:
                return fault
    forget_temporary_files(folder)
    return finished(folder, validation) or good


def forget_temporary_files(folder: Path) -> None:
    """Makes what a kill left look an hour old, so that the next write removes it."""
    for path in folder.rglob("*.mmvae.tmp"):
        os.utime(path, (1, 1))


def at_an_operation(random_: random.Random, folder: Path) -> str:
    def killed(folder: Path, validation: bool) -> int:
        number = random_.randint(1, 330)

        def work() -> None:
            kill_at_operation(number)
            train(folder, validation)

        return end_of(in_child(work))

    return chain(random_, folder, killed, EQUAL)


def at_a_moment(random_: random.Random, folder: Path) -> str:
    def killed(folder: Path, validation: bool) -> int:
        child = in_child(lambda: train(folder, validation) and None)
        time.sleep(random_.uniform(0.0, 0.4))
        os.kill(child, signal.SIGKILL)
        return end_of(child)

    return chain(random_, folder, killed, EQUAL)


def by_sigterm(random_: random.Random, folder: Path) -> str:
    """SIGTERM between two steps; the process must end as one that was terminated, and have saved."""
    validation, at = random_.random() < 0.5, random_.randint(1, 2 * STEPS)
    undisturbed(validation)

    def work() -> None:
        from mmvae.training.engine import Engine

        step, left = Engine.step, at

        def terminated(self: Engine, *arguments: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self, *arguments)  # type: ignore[arg-type]

        Engine.step = terminated  # type: ignore[method-assign, assignment]
        train(folder, validation, checkpoint_seconds=1e9)

    code = end_of(in_child(work))
    if code != 128 + signal.SIGTERM:
        return f"ended with {code}"
    if Checkpoints(folder).position() != ((at - 1) // STEPS, (at - 1) % STEPS + 1):
        return f"saved {Checkpoints(folder).position()} after {at} steps"
    return newest_loads(folder, validation) or finished(folder, validation) or SAVED


# Disks.


def starved(random_: random.Random, folder: Path, starve: Callable[[], None], good: str) -> str:
    """Trains in a process that cannot write, then here, where there is room again."""
    validation = random_.random() < 0.5
    undisturbed(validation)
    report = folder.with_name(folder.name + ".txt")

    def work() -> int:
        starve()
        try:
            train(folder, validation)
        except OSError as error:
            named = str(error.filename or "")
            os.write(told, ("" if named.startswith(str(folder)) else f"named {named!r}: {error}").encode())
            return 3
        return 0

    told = os.open(report, os.O_RDWR | os.O_CREAT)
    try:
        code = end_of(in_child(work))
        said = os.pread(told, 1000, 0).decode()
    finally:
        os.close(told)
        report.unlink()
    if code not in (0, 3):
        return f"ended with {code}"
    if said:
        return f"the error {said}"
    if folder.joinpath("config.json").exists():
        fault = newest_loads(folder, validation)
        if fault is not None:
            return fault
    return finished(folder, validation) or (ROOM if code == 0 else good)


ROOM = "there was enough room"
STARVED = "an error that names the file; resumed to equal weights and metrics"


def full_at_an_operation(random_: random.Random, folder: Path) -> str:
    """An operation fails as on a full disk, a file half written; so do all that follow."""
    first = random_.randint(1, 60)

    def starve() -> None:
        left = first

        def failing(operation: Callable[..., object], cut: bool = False) -> Callable[..., object]:
            def work(*arguments: object, **options: object) -> object:
                nonlocal left
                left -= 1
                if left > 0:
                    return operation(*arguments, **options)
                if cut:
                    path, content = arguments
                    operation(path, content[: len(content) // 2])  # type: ignore[index]
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            return work

        os.fsync = failing(os.fsync)  # type: ignore[assignment]
        os.replace = failing(os.replace)  # type: ignore[assignment]
        Path.write_bytes = failing(Path.write_bytes, cut=True)  # type: ignore[method-assign, assignment]

    return starved(random_, folder, starve, STARVED)


def with_a_limit_of_size(random_: random.Random, folder: Path) -> str:
    """The system refuses to write beyond some bytes of any file, in the midst of a write."""
    most = random_.randint(100, 30_000)

    def starve() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return starved(random_, folder, starve, STARVED)


# Two runs.


REFUSED, IN_TURN = "one trained and the other was refused", "one after the other"


def two_at_once(random_: random.Random, folder: Path) -> str:
    """Two processes begin the same run in one folder within a few milliseconds."""
    undisturbed(False)

    def work() -> int:
        time.sleep(random_.uniform(0, 0.02))
        try:
            run = train(folder)
        except ValueError as error:
            return 4 if "a run is under way" in str(error) else 5
        return 0 if print_of(run.model.state_dict()) == undisturbed(False).end else 6

    codes = sorted(end_of(child) for child in [in_child(work), in_child(work)])
    if codes not in ([0, 4], [0, 0]):
        return f"the two ended with {codes}"
    if (folder / LOCK_FILE).exists():
        return "the lock was left"
    fault = finished(folder, False)
    return fault or (REFUSED if codes == [0, 4] else IN_TURN)


EXPERIMENTS = [
    Experiment("kill before an operation on a file", at_an_operation, (EQUAL,), 4, 16),
    Experiment("kill at any moment", at_a_moment, (EQUAL,), 4, 12),
    Experiment("SIGTERM", by_sigterm, (SAVED,), 2, 4),
    Experiment("disk full from an operation on", full_at_an_operation, (STARVED, ROOM), 4, 8),
    Experiment("write refused in the midst of a file", with_a_limit_of_size, (STARVED, ROOM), 3, 6),
    Experiment("two runs in one folder", two_at_once, (REFUSED, IN_TURN), 3, 6),
]
