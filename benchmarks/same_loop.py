"""Whether models learn the same in both libraries once trainers differ no more: one loop, the same batches, for both.

Each library's trainer has an order of batches and noise of its own, which move results as well as losses do. Here one
plain loop trains both: from the same weights, on the same batches in the same order, by one optimiser. It takes what
`run.py` found wanting for an explanation, and shares its data, networks, seeds, judges and folder of finished parts.

    python benchmarks/same_loop.py --models "MMVAE K=1" MoPoE --out docs/results/benchmark.md
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pyro
import torch
import tyro
from polymnist_task import Task
from protocol import Case
from quality import Scores, mean_and_spread, scores
from results import table
from run import Config, Run, begun, circumstances, show
from sides import LEARNING_RATE
from torch import Tensor, nn

LIBRARIES = ("mmvae", "MultiVae")
HEADING = "Quality after training by one loop"
_NOISE = 1_000
"""Keeps the seed of the noise apart from that of the order, since the two would begin with the same draws."""


def train_by_loop(
    model: nn.Module,
    data: Mapping[str, Tensor],
    loss: Callable[[Mapping[str, Tensor]], Any],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
) -> None:
    """Adam over shuffled batches, by what ``loss`` makes of each; the seed is that of their order and of the noise."""
    rows = len(next(iter(data.values())))
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    torch.manual_seed(seed + _NOISE)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(rows, generator=order).split(batch_size):
            total = loss({name: value[chosen] for name, value in data.items()})
            optimiser.zero_grad()
            total.backward()
            optimiser.step()


def both_trained(run: Run, task: Task, judges: Mapping[str, nn.Module], case: Case, seed: int) -> dict[str, Scores]:
    """The scores of a model that the loop trained by each library's loss, by :data:`LIBRARIES`."""
    from peers import make_peer, peer_data, take_parameters

    preset = run.preset
    budget = {"epochs": preset.epochs, "batch_size": preset.trained.batch_size, "seed": seed}
    ours, theirs = (task.make_model(case, seed).to(run.device) for _ in LIBRARIES)
    peer = make_peer(theirs).to(run.device)
    data = task.train.to(run.device).data
    with pyro.validation_enabled(False):
        train_by_loop(ours, data, lambda batch: ours.loss(batch).total, **budget)
        train_by_loop(peer, data, lambda batch: peer(peer_data(theirs, batch), epoch=1).loss, **budget)
    take_parameters(theirs, peer)
    sampling = {"num_samples": preset.num_samples, "likelihood_rows": preset.scored_rows}
    return {
        name: scores(model, task, judges, **sampling) for name, model in zip(LIBRARIES, (ours, theirs), strict=True)
    }


def section(found: Mapping[Case, list[dict[str, Scores]]]) -> str:
    """A line for each model and library, and the differences of each seed."""
    columns = list(next(iter(found.values()))[0][LIBRARIES[0]])
    rows = []
    for case, seeds in found.items():
        for name in LIBRARIES:
            rows.append([case, name, *(mean_and_spread([seed[name][column] for seed in seeds]) for column in columns)])
        by_seed = [[seed["mmvae"][column] - seed["MultiVae"][column] for seed in seeds] for column in columns]
        rows.append(
            [case, "mmvae - MultiVae, by seed", *(", ".join(f"{each:+.2g}" for each in one) for one in by_seed)]
        )
    return table(["model", "library", *columns], rows)


def main(config: Config) -> None:
    """Trains what no earlier call did, and writes the section."""
    run, task, judges = begun(config)
    preset = run.preset
    task = replace(task, width=preset.trained.width)
    found = {
        case: [
            run.part(f"loop-{case}-{seed}", functools.partial(both_trained, run, task, judges, case, seed))
            for seed in preset.seeds
        ]
        for case in config.models
    }
    says = (
        f"{task.source}; {preset.train_rows:,} data points, {preset.epochs} epochs in batches of "
        f"{preset.trained.batch_size}, seeds {', '.join(map(str, preset.seeds))}. Starting weights, batches and their "
        "order, optimiser and the generator's state are the same for both libraries; scored as above."
    )
    show(config, HEADING, "\n\n".join([says, section(found), circumstances(config, run.device)]))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
