"""Seconds and memory of one epoch by each library's own trainer, beside MultiVae, data loading and files included.

Both trainers are made anew for each measurement and go once through the data: ``mmvae.fit`` with a run folder, and
MultiVae's ``BaseTrainer``, which always writes one. The two take turns.

    python benchmarks/epoch.py --out docs/results/speed.md
"""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from protocol import RECIPES, Case, make_model, real_digits, synthetic_digits
from results import conditions, table, write_section
from sides import epoch, peer_epoch
from timing import Step, Timing, alternate, geometric_mean, peak_memory
from torch import Tensor


@dataclass(frozen=True)
class Config:
    """What is timed, and where the table goes."""

    models: tuple[Case, ...] = tuple(RECIPES)
    rows: int = 2048
    """Data points of an epoch."""
    batch_size: int = 128
    repeats: int = 5
    """Pairs of epochs per model."""
    threads: int = 2
    """Of PyTorch, on the CPU."""
    device: str = "cpu"
    data: Path | None = None
    """Folder of the data sets; without it the data is noise of the same shapes."""
    memory: bool = True
    """Measure peak memory too, each side in a process of its own."""
    out: Path | None = None
    """Markdown file into which the table goes; printed in any case."""
    heading: str = "Epoch"


def make_data(rows: int, folder: Path | None) -> dict[str, Tensor]:
    """The data points of an epoch."""
    return synthetic_digits(rows) if folder is None else real_digits(rows, folder)[0]


def our_epoch(case: Case, rows: int, batch_size: int, folder: Path | None, device: str) -> Step:
    """An epoch by ``fit``."""
    return epoch(functools.partial(make_model, case), make_data(rows, folder), batch_size, device)


def their_epoch(case: Case, rows: int, batch_size: int, folder: Path | None, device: str) -> Step:
    """An epoch by MultiVae's trainer."""
    return peer_epoch(make_model(case), make_data(rows, folder), batch_size, device)


def row(case: Case, timing: Timing, memory: tuple[float, float] | None) -> list[str]:
    """A row of the table."""
    ours, peer = statistics.median(timing.ours), statistics.median(timing.peer)
    cells = [case, f"{ours:.2f}", f"{peer:.2f}", f"{timing.ratio:.2f}"]
    return cells if memory is None else [*cells, *(f"{each:.0f}" for each in memory)]


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    what = "noise of the protocol's shapes" if config.data is None else real_digits(config.rows, config.data)[1]
    rows, ratios = [], []
    for case in config.models:
        arguments = (case, config.rows, config.batch_size, config.data, config.device)
        timing = alternate(our_epoch(*arguments), their_epoch(*arguments), config.repeats, 1, config.device)
        memory = None
        if config.memory:
            memory = (
                peak_memory(our_epoch, *arguments, steps=1, device=config.device),
                peak_memory(their_epoch, *arguments, steps=1, device=config.device),
            )
        rows.append(row(case, timing, memory))
        ratios.append(timing.ratio)
        print(*rows[-1], flush=True)
    header = ["model", "mmvae, s", "MultiVae, s", "MultiVae / mmvae"]
    body = "\n\n".join(
        [
            table(header + ["mmvae, MiB", "MultiVae, MiB"] * config.memory, rows),
            f"Geometric mean of the ratios: {geometric_mean(ratios):.2f}; the lowest: {min(ratios):.2f}. Medians of "
            f"{config.repeats} epochs over {config.rows} data points ({what}) in batches of {config.batch_size}, taken "
            f"in turn; the ratio is the median of the ratios of neighbours.",
            conditions(config.device),
        ]
    )
    print("\n" + body)
    if config.out is not None:
        write_section(config.out, "Speed and memory beside MultiVae", config.heading, body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
