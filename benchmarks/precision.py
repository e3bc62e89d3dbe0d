"""Whether coarser numbers cost quality: the same models trained in float32, in mixed bfloat16 and, on a GPU, with TF32.

    python benchmarks/precision.py --device auto --out docs/results/precision.md

Data, networks, seeds and judges are those of `run.py`, whose folder of finished parts it shares.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import tyro
from polymnist_task import Task
from protocol import Case
from quality import Scores, difference, mean_and_spread, scores
from results import table
from run import Config, Run, begun, circumstances, show
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
                change, is_beyond = difference(own, [seed[column] for seed in ways[FLOAT32]])
                compared += 1
                if is_beyond:
                    apart.append(f"{column} of {case} in {way} ({change:+.3g})")
    rule = "Differences from float32 larger than both standard deviations together"
    return "\n\n".join(
        [table(["model", "precision", *columns], rows), f"{rule}: {', '.join(apart) or 'none'}. Of {compared}."]
    )


def main(config: Config) -> None:
    """Trains what no earlier call did, and writes the page."""
    run, task, judges = begun(config)
    preset, device = run.preset, run.device
    task = replace(task, width=preset.trained.width)
    ways = [way for way in WAYS if way != "TF32" or device.startswith("cuda")]  # which is of GPUs alone

    def scored(case: Case, way: str, seed: int) -> Scores:
        part = functools.partial(trained, run, task, judges, case, way, seed)
        return run.part(f"precision-{way}-{case}-{seed}", part)

    found = {case: {way: [scored(case, way, seed) for seed in preset.seeds] for way in ways} for case in config.models}
    says = (
        f"{preset.says} {task.source}; {preset.train_rows:,} data points, {preset.epochs} epochs in batches of "
        f"{preset.trained.batch_size}; mean ± standard deviation over seeds {', '.join(map(str, preset.seeds))}. "
        "Scored as on the [page beside MultiVae](benchmark.md), in float32."
    )
    body = "\n\n".join([says, section(found), circumstances(config, device)])
    show(config, "Quality by precision", body, TITLE)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
