"""Whether coarser numbers cost quality: the same models trained in float32, in mixed bfloat16 and, on a GPU, with TF32.

    python benchmarks/precision.py --device auto --out docs/results/precision.md

Data, networks, seeds and judges are those of `run.py`, whose folder of finished parts it shares.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from polymnist_task import Task
from presets import PRESETS
from protocol import Case
from quality import Scores, mean_and_spread, scores
from results import conditions, table, write_section
from run import CASES, Run
from sides import train
from torch import nn

TITLE = "Precision and quality"
FLOAT32 = "float32"
WAYS: dict[str, dict[str, Any]] = {
    FLOAT32: {"matmul_precision": "highest"},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "TF32": {"matmul_precision": "high"},
}
"""By name, what `fit` is told."""


@dataclass(frozen=True)
class Config:
    """What is compared, and where results go."""

    preset: Literal["smoke", "laptop", "full"] = "laptop"
    """As of `run.py`."""
    models: tuple[Case, ...] = CASES
    device: str = "auto"
    """"auto", "cpu" or "cuda"; TF32 is of GPUs alone."""
    data: Path | None = None
    """Folder of the data sets; by default the environment variable MMVAE_DATA."""
    work: Path = Path("runs/benchmark")
    """Where finished parts are kept."""
    out: Path | None = None
    """Markdown file into which the table goes; printed in any case."""
    note: str = ""
    """On the circumstances."""


def trained(run: Run, task: Task, judges: Mapping[str, nn.Module], case: Case, way: str, seed: int) -> Scores:
    """The scores of a model that was trained in one of the ways, inferred and scored in float32."""
    preset = run.preset
    model = task.make_model(case, seed)
    train(
        model,
        task.train.data,
        epochs=preset.epochs,
        batch_size=preset.trained.batch_size,
        device=run.device,
        seed=seed,
        **WAYS[way],
    )
    return scores(model, task, judges, num_samples=preset.num_samples, likelihood_rows=preset.scored_rows)


def section(found: Mapping[Case, Mapping[str, Sequence[Scores]]]) -> str:
    """A line for each model and way, and the differences from float32 that the spread does not explain."""
    columns = list(next(iter(found.values()))[FLOAT32][0])
    rows, apart, compared = [], [], 0
    for case, ways in found.items():
        for way, seeds in ways.items():
            values = {column: [seed[column] for seed in seeds] for column in columns}
            rows.append([case, way, *(mean_and_spread(each) for each in values.values())])
            if way == FLOAT32 or len(seeds) < 2:
                continue
            for column, own in values.items():
                exact = [seed[column] for seed in ways[FLOAT32]]
                difference = statistics.mean(own) - statistics.mean(exact)
                compared += 1
                if abs(difference) > statistics.stdev(own) + statistics.stdev(exact):
                    apart.append(f"{column} of {case} in {way} ({difference:+.3g})")
    rule = "Differences from float32 larger than both standard deviations together"
    return "\n\n".join(
        [table(["model", "precision", *columns], rows), f"{rule}: {', '.join(apart) or 'none'}. Of {compared}."]
    )


def main(config: Config) -> None:
    """Trains what no earlier call did, and writes the page."""
    preset = PRESETS[config.preset]
    torch.set_num_threads(preset.threads)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    run = Run(preset, device, config.data, config.work / f"{config.preset}-{device}")
    task = run.task(preset.timed)
    judges = run.judges(task)
    task = replace(task, width=preset.trained.width)
    ways = [way for way in WAYS if way != "TF32" or device.startswith("cuda")]

    def scored(case: Case, way: str, seed: int) -> Scores:
        part = functools.partial(trained, run, task, judges, case, way, seed)
        return run.part(f"precision-{way}-{case}-{seed}", part)

    found = {case: {way: [scored(case, way, seed) for seed in preset.seeds] for way in ways} for case in config.models}
    under = conditions(device) + (f"\n- {config.note}" if config.note else "")
    says = (
        f"{preset.says} {task.source}; {preset.train_rows:,} data points, {preset.epochs} epochs in batches of "
        f"{preset.trained.batch_size}; mean ± standard deviation over seeds {', '.join(map(str, preset.seeds))}. "
        "Scored as on the [page beside MultiVae](benchmark.md), in float32."
    )
    body = "\n\n".join([says, section(found), under])
    print(body, flush=True)
    if config.out is not None:
        write_section(config.out, TITLE, "Quality by precision", body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
