"""Cross-modal generalisation: train a classifier on one modality's latents, test it on those of another.

    python experiments/cross_modal_generalization.py --task usps --preset laptop --out runs/generalization

Codebooks (DCID, FCID, and their parts taken away) and the continuous latents of VAEs under one protocol: pretrained
without labels on paired data; heads and kept dimensions (TOC) chosen on validation data of the source modality alone;
tested once, for every ordered pair of modalities, over several seeds. What an earlier call with the same folder
finished is read, not run again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from folders import run_folder
from generalization.arms import ARMS, Group
from generalization.controls import controls_measured
from generalization.keeping import toc_measured
from generalization.measuring import judged
from generalization.reporting import curves, figures, matrices, tables
from generalization.tasks import Size, Splits, Task, judges, read
from rich.console import Console

import mmvae
from mmvae.evaluation import Evaluation, make_row
from mmvae.models import MultimodalModel
from mmvae.storage import write_text


@dataclass(frozen=True)
class Preset:
    """How much is trained and measured."""

    says: str
    size: Size
    epochs: int
    batch_size: int
    classifier_steps: int


PRESETS = {
    "smoke": Preset(
        says="Preset smoke: it shows that everything runs; its numbers mean nothing.",
        size=Size(pretraining=64, heads=60, test=40),
        epochs=1,
        batch_size=32,
        classifier_steps=3,
    ),
    "laptop": Preset(
        says="Preset laptop: 4,000 pairs without labels, 12 epochs of batches of 32 (1,500 steps), codebooks of 64 "
        "codes of 64 numbers; compare arms with each other, not with papers.",
        size=Size(pretraining=4_000, heads=1_500, test=1_000),
        epochs=12,
        batch_size=32,
        classifier_steps=400,
    ),
    "full": Preset(
        says="Preset full: 40,000 pairs without labels, 30 epochs of batches of 128.",
        size=Size(pretraining=40_000, heads=10_000, test=10_000),
        epochs=30,
        batch_size=128,
        classifier_steps=5_000,
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Compare what heads make of the latents of modalities that they never saw."""

    task: Task = "usps"
    """MNIST, USPS and text; MNIST, street digits (SVHN, or rendered ones) and text; or synthetic paired sequences."""
    preset: Literal["smoke", "laptop", "full"] = "laptop"
    """Seconds, an hour on two cores, or what a GPU is for."""
    groups: tuple[Group, ...] = ("arms",)
    """The arms side by side, and DCID's parts one by one."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of data, weights, batches and heads."""
    data: Path | None = None
    """Folder of the data sets; by default the environment variable MMVAE_DATA."""
    out: Path = Path("runs/cross_modal_generalization")
    """Where runs, figures and tables are written."""
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""


def folder_of(name: str, seed: int, arguments: Arguments) -> Path:
    """Where the run of an arm lies."""
    return run_folder(arguments.out / arguments.task, name, seed)


def pretrained(name: str, seed: int, arguments: Arguments, splits: Splits) -> tuple[MultimodalModel, list[Any]]:
    """A model that has seen the pairs, without labels, and rows on what that cost."""
    arm, preset = ARMS[name], PRESETS[arguments.preset]
    torch.manual_seed(seed)
    model = arm.make(arguments.task, splits)
    run = mmvae.fit(
        model,
        splits.pretraining,
        epochs=preset.epochs,
        batch_size=preset.batch_size,
        lr=arm.lr,
        max_grad_norm=arm.max_grad_norm,
        seed=seed,
        device=arguments.device,
        out=folder_of(name, seed, arguments),
        resume=True,
    )
    seconds = [row["seconds"] for row in run.metrics]
    steps = -(-splits.pretraining.size // preset.batch_size)
    cost = [
        make_row("parameters", sum(each.numel() for each in model.parameters())),
        make_row("milliseconds_per_step", 1000 * sorted(seconds)[len(seconds) // 2] / steps),
    ]
    return model.cpu(), cost


def run(name: str, seed: int, arguments: Arguments, data: Callable[[], tuple[Splits, Any]]) -> None:
    """Trains and measures an arm, as far as no earlier call has."""
    folder = folder_of(name, seed, arguments)
    parts = {part: folder / part for part in ("measured", "toc", "controls")}
    missing = [part for part, path in parts.items() if not (path / "evaluation.json").exists()]
    if not missing:
        return
    splits, classifiers = data()
    if ARMS[name].whole:
        splits = splits.without_steps()
    model, cost = pretrained(name, seed, arguments, splits)
    if "measured" in missing:
        evaluation = judged(model, arguments.task, splits, classifiers, seed)
        evaluation.rows.extend(cost)
        evaluation.settings["data"] = list(splits.notes)
        evaluation.save(parts["measured"])
    has_codes = hasattr(model, "codebook")
    if "toc" in missing:
        measured = toc_measured(model, splits, seed) if has_codes else Evaluation([])
        measured.save(parts["toc"])
    if "controls" in missing:
        toc = Evaluation.load(parts["toc"])
        controls = controls_measured(model, splits, toc, seed) if has_codes else Evaluation([])
        controls.save(parts["controls"])
    if seed == arguments.seeds[0]:
        figures(model, splits.test, folder)


def main(arguments: Arguments) -> Path:
    """Runs what is asked for; writes figures and ``tables.md``, whose path it gives back."""
    console, preset = Console(), PRESETS[arguments.preset]
    names = [name for name, arm in ARMS.items() if arm.group in arguments.groups]
    for seed in arguments.seeds:

        @functools.cache
        def data(seed: int = seed) -> tuple[Splits, Mapping[str, Any] | None]:
            cache = arguments.out / "cache"
            splits = read(arguments.task, preset.size, arguments.data, cache, seed)
            return splits, judges(arguments.task, splits, preset.classifier_steps, cache)

        for name in names:
            console.print(f"{name}, seed {seed}")
            run(name, seed, arguments, data)

    def found(part: str) -> dict[str, Sequence[Evaluation]]:
        folders = {name: [folder_of(name, seed, arguments) for seed in arguments.seeds] for name in names}
        return {name: [Evaluation.load(folder / part) for folder in each] for name, each in folders.items()}

    measured, kept, controls = found("measured"), found("toc"), found("controls")
    of_data = [note for each in measured.values() for one in each for note in one.settings["data"]]
    notes = dict.fromkeys([preset.says, *of_data])
    text = "".join(f"{note}\n" for note in notes) + f"\nMean ± standard deviation over seeds {arguments.seeds}.\n"
    root = arguments.out / arguments.task
    text += tables(arguments.task, measured, kept, controls)
    curves(kept, {name: folder_of(name, arguments.seeds[0], arguments) for name in names})
    matrices(measured, root / "transfer.png")
    path = root / f"tables-{'-'.join(arguments.groups)}.md"
    write_text(path, text)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"tables: {path}")
    return path


if __name__ == "__main__":
    main(tyro.cli(Arguments))
