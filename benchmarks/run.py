"""This library and MultiVae side by side: speed, memory and the quality of what they train, on a task like PolyMNIST.

    python benchmarks/run.py --device auto --out docs/results/benchmark.md

Both get the same networks, starting weights, data and batches, in one process and in turn. Every part that is finished
is kept in a folder, so that a call that was stopped goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from benchmark_page import quality_section, speed_section
from measures import MEASURES, Bench, Measure, training
from polymnist_task import Task
from presets import PRESETS, Preset, Sizes
from profiles import busy_share, network_share, peak_allocated
from protocol import Case
from quality import Scores, both_trained, judge_accuracy
from results import conditions, write_section
from timing import Timing, alternate
from torch import nn

from mmvae.evaluation import train_classifiers
from mmvae.storage import read_json, write_json

CASES: tuple[Case, ...] = ("MVAE", "MMVAE K=1", "MoPoE", "JMVAE", "MVTCAE")
TITLE = "Beside MultiVae"


@dataclass(frozen=True)
class Config:
    """What is compared, and where results go."""

    preset: Literal["smoke", "laptop", "full"] = "laptop"
    """Seconds, an hour or two on one core, or what a GPU is for."""
    models: tuple[Case, ...] = CASES
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""
    data: Path | None = None
    """Folder of the data sets; by default the environment variable MMVAE_DATA."""
    work: Path = Path("runs/benchmark")
    """Where finished parts are kept."""
    out: Path | None = None
    """Markdown file into which the tables go; printed in any case."""
    note: str = ""
    """On the circumstances, such as what else the machine does."""


@dataclass(frozen=True)
class Run:
    """One comparison: its settings, and the folder of its parts."""

    preset: Preset
    device: str
    data: Path | None
    folder: Path

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """What an earlier call with the same settings measured, or what is measured now and kept."""
        settings = f"{replace(self.preset, says='', seeds=())}, {self.device}"  # a seed is in the part's name
        path = self.folder / f"{name}.json"
        if path.exists() and (found := read_json(path))["settings"] == settings:
            return found["measured"]
        measured = measure()
        write_json(path, {"settings": settings, "measured": measured})
        print(name, flush=True)
        return measured

    def task(self, sizes: Sizes) -> Task:
        """The data, for networks of this size."""
        preset, cache = self.preset, self.folder / "rendered"
        return Task.read(preset.modalities, preset.train_rows, preset.test_rows, sizes.width, self.data, cache)

    def judges(self, task: Task) -> dict[str, nn.Module]:
        """Classifiers that learned from the training data; the same for both libraries and all models."""
        cache = self.folder / "judges"
        return dict(
            train_classifiers(
                task.train, task.modalities(), steps=self.preset.judge_steps, device=self.device, cache=cache
            )
        )


def begun(config: Config) -> tuple[Run, Task, dict[str, nn.Module]]:
    """The comparison that is asked for, its data, and the classifiers that judge; PyTorch gets the threads of it."""
    preset = PRESETS[config.preset]
    torch.set_num_threads(preset.threads)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    run = Run(preset, device, config.data, config.work / f"{config.preset}-{device}")
    task = run.task(preset.timed)
    return run, task, run.judges(task)


def timings(run: Run, bench: Bench) -> dict[str, Timing]:
    """Both libraries on one model, by measure."""
    found = {}
    for name, measure in MEASURES.items():
        part = functools.partial(timed, measure, bench, run.preset.repeats[name])
        measured = run.part(f"{name}-{bench.case}", part)
        found[name] = Timing(tuple(measured["ours"]), tuple(measured["peer"]))
    return found


def timed(measure: Measure, bench: Bench, repeats: int) -> dict[str, tuple[float, ...]]:
    """The seconds of both sides."""
    return asdict(alternate(*measure.sides(bench), repeats, measure.warmup, bench.device))


def profiled(bench: Bench) -> dict[str, list[float]]:
    """MiB that a training step holds, and where its time goes; of this library and MultiVae.

    On CUDA the share that the device is busy, of this library also without capturing, which comes first; on the CPU
    the share of convolutions and products of matrices.
    """
    sides = training(bench)
    plain, _ = training(bench, acceleration="none")
    for step in (*sides, plain):
        for _ in range(4):
            step()
    found = {"memory": [peak_allocated(step, bench.device) for step in sides]}
    if bench.device.startswith("cuda"):
        found["busy"] = [busy_share(step) for step in (plain, *sides)]
    else:
        found["network"] = [network_share(step) for step in sides]
    return found


def trained(run: Run, task: Task, judges: dict[str, nn.Module], case: Case) -> list[dict[str, Scores]]:
    """The scores of both libraries' models, by seed."""
    preset = run.preset
    settings = {
        "epochs": preset.epochs,
        "batch_size": preset.trained.batch_size,
        "device": run.device,
        "num_samples": preset.num_samples,
        "likelihood_rows": preset.scored_rows,
    }
    train_both = functools.partial(both_trained, case, task, judges, **settings)
    return [run.part(f"quality-{case}-{seed}", functools.partial(train_both, seed=seed)) for seed in preset.seeds]


def main(config: Config) -> None:
    """Measures what no earlier call did, and writes both sections of the page."""
    run, task, judges = begun(config)
    preset, device = run.preset, run.device
    under = circumstances(config, device)

    benches = {
        case: Bench(
            case=case,
            task=task,
            device=device,
            batch_size=preset.timed.batch_size,
            epoch_rows=preset.epoch_rows,
            likelihood_rows=preset.likelihood_rows,
            num_samples=preset.num_samples,
            judges=judges,
        )
        for case in config.models
    }
    speed = {case: timings(run, bench) for case, bench in benches.items()}
    profiles = {
        case: run.part(f"profile-{case}", functools.partial(profiled, bench)) for case, bench in benches.items()
    }
    show(config, "Speed and memory", speed_section(preset, task.source, speed, profiles, under))

    ceiling = run.part("judges", functools.partial(judge_accuracy, task, judges))
    task = replace(task, width=preset.trained.width)
    quality = {case: trained(run, task, judges, case) for case in config.models}
    show(config, "Quality after training", quality_section(preset, task.source, quality, ceiling, under))


def circumstances(config: Config, device: str) -> str:
    """What a section ends with: the command, the machine, the versions, and the note if there is one."""
    return conditions(device) + (f"\n- {config.note}" if config.note else "")


def show(config: Config, heading: str, body: str, title: str = TITLE) -> None:
    """Prints a section, and writes it into the page of this title where there is one."""
    print(f"\n## {heading}\n\n{body}\n", flush=True)
    if config.out is not None:
        write_section(config.out, title, heading, body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
