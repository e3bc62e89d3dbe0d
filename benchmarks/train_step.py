"""Seconds and memory of one training step, beside MultiVae, on the same networks, weights and data.

A step is the loss, its gradient and Adam's update. The two libraries take turns, step by step. Each step is as the
trainer of its library takes it: here with the fused kernel of Adam and without argument checks of distributions, there
with PyTorch's defaults of both.

    python benchmarks/train_step.py --out docs/results/speed.md
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from protocol import RECIPES, Case, make_model, synthetic_digits
from results import conditions, table, write_section
from sides import peer_training_step, training_step
from timing import Clock, Step, Timing, alternate, geometric_mean, peak_memory


@dataclass(frozen=True)
class Config:
    """What is timed, and where the table goes."""

    models: tuple[Case, ...] = tuple(RECIPES)
    batch_sizes: tuple[int, ...] = (128, 256)
    repeats: int = 60
    """Pairs of steps per model and batch size."""
    threads: int = 2
    """Of PyTorch, on the CPU."""
    device: str = "cpu"
    clock: Clock = "wall"
    memory: bool = True
    """Measure peak memory too, each side in a process of its own."""
    peer_validation: bool = True
    """Leave the argument checks of distributions on in MultiVae, as its trainer does."""
    out: Path | None = None
    """Markdown file into which the table goes; printed in any case."""
    heading: str = "Training step"


def our_step(case: Case, batch_size: int, device: str) -> Step:
    """A training step of this library, on noise of the protocol's shapes."""
    return training_step(make_model(case).to(device).train(), synthetic_digits(batch_size))


def peer_step(case: Case, batch_size: int, device: str, validate: bool = True) -> Step:
    """A training step of MultiVae, on the same."""
    return peer_training_step(make_model(case), synthetic_digits(batch_size), device, validate)


def row(case: Case, batch_size: int, timing: Timing, memory: tuple[float, float] | None) -> list[str]:
    """A row of the table."""
    ours, peer = (statistics.median(seconds) * 1e3 for seconds in (timing.ours, timing.peer))
    cells = [case, str(batch_size), f"{ours:.1f}", f"{peer:.1f}", f"{timing.ratio:.2f}"]
    return cells if memory is None else [*cells, *(f"{each:.0f}" for each in memory)]


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    rows, ratios = [], []
    for case in config.models:
        for size in config.batch_sizes:
            ours = our_step(case, size, config.device)
            peer = peer_step(case, size, config.device, config.peer_validation)
            timing = alternate(ours, peer, config.repeats, device=config.device, clock=config.clock)
            memory = None
            if config.memory:
                arguments = (case, size, config.device)
                memory = (
                    peak_memory(our_step, *arguments, device=config.device),
                    peak_memory(peer_step, *arguments, device=config.device),
                )
            rows.append(row(case, size, timing, memory))
            ratios.append(timing.ratio)
            print(*rows[-1], flush=True)
    header = ["model", "batch", "mmvae, ms", "MultiVae, ms", "MultiVae / mmvae"]
    body = "\n\n".join(
        [
            table(header + ["mmvae, MiB", "MultiVae, MiB"] * config.memory, rows),
            f"Geometric mean of the ratios: {geometric_mean(ratios):.2f}; the lowest: {min(ratios):.2f}. Medians of "
            f"{config.repeats} steps ({config.clock} clock), taken in turn; the ratio is the median of the ratios of "
            f"neighbours.",
            conditions(config.device),
        ]
    )
    print("\n" + body)
    if config.out is not None:
        write_section(config.out, "Speed and memory beside MultiVae", config.heading, body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
