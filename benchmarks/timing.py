"""Timing two sides in turn, and the memory that each needs."""

from __future__ import annotations

import math
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch

Step = Callable[[], object]
"""What is timed; what it gives back is dropped."""

Clock = Literal["wall", "processor"]
"""Seconds that pass, or seconds that the processors spend on this process: for machines that do other work too."""


@dataclass(frozen=True)
class Timing:
    """Seconds that two sides took, run in turn."""

    ours: tuple[float, ...]
    peer: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """peer / ours of the pairs of neighbours in time; above 1 where ours is faster."""
        return [theirs / own for own, theirs in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the third quartile of the ratios; of a single one, itself twice."""
        if len(self.ours) < 2:
            return self.ratio, self.ratio
        first, _, third = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return first, third


def alternate(
    ours: Step, peer: Step, repeats: int, warmup: int = 3, device: str = "cpu", clock: Clock = "wall"
) -> Timing:
    """Times both sides in turn, so that what else the machine does slows both alike; who goes first alternates."""
    seconds = in_turn({"ours": ours, "peer": peer}, repeats, warmup, device, clock)
    return Timing(seconds["ours"], seconds["peer"])


Name = TypeVar("Name", bound=str)


def in_turn(
    sides: Mapping[Name, Step], repeats: int, warmup: int = 3, device: str = "cpu", clock: Clock = "wall"
) -> dict[Name, tuple[float, ...]]:
    """The seconds of any number of sides that take turns; who goes first changes with every round."""
    for _ in range(warmup):
        for side in sides.values():
            side()
    names = list(sides)
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_time(sides[name], device, clock))
    return {name: tuple(each) for name, each in seconds.items()}


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean, the right one for ratios."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def peak_memory(make_step: Callable[..., Step], *arguments: object, steps: int = 5, device: str = "cpu") -> float:
    """MiB that a side takes in a fresh process, above what it held once its modules were imported.

    On the CPU this is the growth of the resident set to its peak; on CUDA, the most that PyTorch allocated.

    Args:
        make_step: a function of a module; called with the arguments it gives the step to run.
        arguments: which can be pickled, as ``make_step`` can.
        steps: how many are run.
        device: of the model.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak_here, make_step, arguments, steps, device).result()


def _peak_here(make_step: Callable[..., Step], arguments: tuple[object, ...], steps: int, device: str) -> float:
    before = _resident_peak()
    step = make_step(*arguments)
    for _ in range(steps):
        step()
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return _resident_peak() - before


def _resident_peak() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage gives on Linux counts the parent of a spawned process too
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _time(side: Step, device: str, clock: Clock) -> float:
    now = time.perf_counter if clock == "wall" else time.process_time
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = now()
    side()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return now() - start
