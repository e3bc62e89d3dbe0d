"""What experiments with faults share: a small run whose every state is known, processes to be killed, and a count."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import mmvae
from mmvae import Modality, likelihoods, models, nn

EPOCHS = 3
STEPS = 3
ROWS = 24


@dataclass(frozen=True)
class Experiment:
    """Something that is done again and again, and what may come of it.

    Attributes:
        title: Subject, as the table has it.
        trial: Does it once in an empty folder, with draws of a generator, and says what came of it.
        allowed: Outcomes that keep the promise; any other is a fault.
        short: Trials in the tests.
        weight: Share of the time of the long form, beside those of the others.
    """

    title: str
    trial: Callable[[random.Random, Path], str]
    allowed: tuple[str, ...]
    short: int
    weight: float = 1.0


@dataclass
class Count:
    """How often an experiment was done, and what came of it."""

    trials: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """A folder in memory where there is one: a disk would take its time for each of thousands of small files."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="mmvae-faults-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def do(experiment: Experiment, count: Count, seed: int) -> str:
    """One trial; what came of it is counted, and a fault is described so that it can be repeated."""
    started = time.process_time() + time_of_children()
    with empty_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = experiment.trial(random.Random(f"{experiment.title} {seed}"), folder)
    count.trials += 1
    count.seconds += time.process_time() + time_of_children() - started
    count.outcomes[outcome] += 1
    if outcome not in experiment.allowed:
        count.faults.append(f"{experiment.title}, seed {seed}: {outcome}")
    return outcome


def time_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# A run.


def make_model() -> Any:
    torch.manual_seed(0)
    modalities = [
        Modality(
            name,
            (3,),
            likelihoods.Normal(),
            functools.partial(nn.MLPEncoder, (3,), hidden=(4,)),
            functools.partial(nn.MLPDecoder, shape=(3,), hidden=(4,)),
        )
        for name in "ab"
    ]
    return models.MVAE(modalities, 2)


@functools.cache
def make_data() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(ROWS, 3, generator=generator) for name in "ab"}


def train(folder: Path | None, validation: bool = False, **options: Any) -> Any:
    options = {"epochs": EPOCHS, "checkpoint_seconds": 0.0} | options
    if validation:
        options["validation"] = 0.25
    if folder is not None:
        options |= {"out": folder, "resume": True}
    return mmvae.fit(make_model(), make_data(), batch_size=8, device="cpu", progress=False, **options)


def print_of(weights: Mapping[str, torch.Tensor]) -> str:
    """The weights of a model in a few letters."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Known:
    """A run that nothing disturbed.

    Attributes:
        end: Print of the model at its end.
        metrics: Without seconds.
        on_the_way: Prints of the weights for use, by how far the run has come.
    """

    end: str
    metrics: list[dict[str, Any]]
    on_the_way: dict[tuple[int, int], str]


@functools.cache
def undisturbed(validation: bool) -> Known:
    """That run; what is on the way was read where it was written."""
    from mmvae.training.checkpoint import CHECKPOINT_FILE, Checkpoints, weights_in

    prints: dict[tuple[int, int], str] = {}
    write = Checkpoints.write

    def remember(self: Checkpoints, state: Any) -> None:
        write(self, state)
        prints[state["epoch"], state["step"]] = print_of(weights_in(state))

    with empty_folder() as folder:
        Checkpoints.write = remember  # type: ignore[method-assign]
        try:
            run = train(folder, validation)
        finally:
            Checkpoints.write = write  # type: ignore[method-assign]
        assert (folder / CHECKPOINT_FILE).exists()
    return Known(print_of(run.model.state_dict()), timeless(run.metrics), prints)


def timeless(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in metrics]


# Processes.


def in_child(work: Callable[[], int | None]) -> int:
    """Starts ``work`` in a process that is forked off this one, and gives its number."""
    sys.stdout.flush()
    if (child := os.fork()) != 0:
        return child
    code = 1
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = work() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(code)


def end_of(child: int) -> int:
    """Waits for a process; its code, or minus the number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_operation(number: int) -> None:
    """Has this process kill itself before its so-many-th operation on a file."""
    left = number

    def look(event: str, _: object) -> None:
        nonlocal left
        if event in OPERATIONS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


OPERATIONS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.utime", "fcntl.flock"}
)
"""Audit events of Python that touch the disk; ``os.replace`` raises ``os.rename``."""
