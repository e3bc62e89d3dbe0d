"""Classification when a modality is missing: MoLT and CMPT beside their parts and simple baselines, on digits.

    python experiments/missing_modality.py --task street --preset laptop --out runs/missing_modality

The encoders are the library's own small transformers, pretrained on one modality each (on images that nothing else
sees) and frozen; the data is noisy, so that one modality alone leaves doubt and a missing one costs
something. Every method sees the same encoders, data and missingness tables, over several seeds. What an earlier call
with the same folder finished is read, not run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from folders import run_folder
from missing.digits import MODALITIES, Size, Task, read
from missing.measuring import Results, Setting, classify
from missing.methods import METHODS, PROBE, Group
from missing.training import Pretraining, Training, predictor, pretrained, probe, train
from rich.console import Console
from torch import Tensor

import mmvae
from mmvae import Batch, models
from mmvae.storage import write_text


@dataclass(frozen=True)
class Preset:
    """How much is trained and measured."""

    says: str
    size: Size
    pretraining_epochs: int
    epochs: int
    tables: int


PRESETS = {
    "smoke": Preset(
        says="Preset smoke: it shows that everything runs; its numbers mean nothing.",
        size=Size(pretraining=96, train=64, test=64),
        pretraining_epochs=1,
        epochs=1,
        tables=1,
    ),
    "laptop": Preset(
        says="Preset laptop: small encoders pretrained on 12,000 noisy data each, classifiers trained on 1,500 "
        "labelled rows; compare methods with each other, not with papers.",
        size=Size(pretraining=12_000, train=1_500, test=2_000),
        pretraining_epochs=6,
        epochs=12,
        tables=3,
    ),
    "full": Preset(
        says="Preset full: encoders pretrained on 25,000 noisy data each, classifiers trained on 20,000 labelled rows.",
        size=Size(pretraining=25_000, train=20_000, test=10_000),
        pretraining_epochs=20,
        epochs=20,
        tables=3,
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Compare classifiers on digits of which modalities are missing."""

    task: Task = "street"
    """Street digits (SVHN, or rendered ones) and the digit's word; MNIST and USPS; or MNIST, street digits, word."""
    preset: Literal["smoke", "laptop", "full"] = "laptop"
    """Seconds, an hour on two cores, or what a GPU is for."""
    groups: tuple[Group, ...] = ("methods",)
    """The methods side by side, and the ablations of MoLT and of CMPT."""
    pretraining: Pretraining = "labels"
    """What encoders learn from: the labels of their modality, or what is hidden of it (masked reconstruction)."""
    trainings: tuple[Training, ...] = ("complete", "incomplete")
    """Train on complete rows, or on rows of which 70 % lack a modality."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of encoders, data, weights and missingness tables."""
    data: Path | None = None
    """Folder of the data sets; by default the environment variable MMVAE_DATA."""
    out: Path = Path("runs/missing_modality")
    """Where runs, figures and tables are written."""
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""


def root_of(arguments: Arguments) -> Path:
    """Where everything of a task and its encoders is kept."""
    return arguments.out / f"{arguments.task}-{arguments.pretraining}"


def names_of(arguments: Arguments) -> list[str]:
    """The methods that are asked for and suit the task."""
    modalities = MODALITIES[arguments.task]
    suited = [name for name, each in METHODS.items() if each.group in arguments.groups and each.suits(modalities)]
    return [*suited, PROBE] if "methods" in arguments.groups else suited


def setting_of(name: str, training: Training, seed: int, arguments: Arguments) -> Setting:
    """Where a method's numbers are kept."""
    return Setting(name, training, seed, run_folder(root_of(arguments) / training, name, seed))


def run_seed(seed: int, arguments: Arguments, console: Console) -> tuple[Tensor, tuple[str, ...]]:
    """Everything of one seed that no earlier call finished; the labels of the test data, and notes."""
    preset, root, device = PRESETS[arguments.preset], root_of(arguments), arguments.device
    splits = read(arguments.task, preset.size, arguments.data, arguments.out / "cache", seed)
    digits = "usps" if arguments.task == "usps" else "street"  # of which "three" has one more
    kept = arguments.out / "encoders" / arguments.pretraining / digits
    encoders = {
        name: pretrained(
            name, splits, arguments.pretraining, preset.pretraining_epochs, seed, device, kept / f"{name}-{seed}"
        )
        for name in MODALITIES[arguments.task]
    }
    for training in arguments.trainings:
        for name in names_of(arguments):
            setting = setting_of(name, training, seed, arguments)
            if setting.finished:
                continue
            console.print(f"{name}, trained on {training} rows, seed {seed}")
            if name == PROBE:
                predict, facts = probe(splits, training, preset.pretraining_epochs, seed, device)
            else:
                own: dict[str, Any] = {"epochs": preset.epochs, "seed": seed, "device": device}
                model, facts = train(METHODS[name], encoders, splits, training, cache=root / "features", **own)
                predict = predictor(model)
                if seed == arguments.seeds[0] and METHODS[name].group == "methods":
                    pictures(setting, model, splits.test)
            setting.keep(classify(predict, splits.test, seed), facts)
    assert splits.test.labels is not None
    return splits.test.labels, splits.notes


def pictures(setting: Setting, model: Any, test: Batch) -> None:
    """The latents of each subset in the plane, and for CMPT where class tokens and proxies look."""
    setting.folder.mkdir(parents=True, exist_ok=True)
    some = test[torch.arange(min(600, test.size))]
    figures = {"latents": mmvae.plot.latent_map(mmvae.plot.LatentMeans.of(model, some, method="tsne"))}
    if isinstance(model, models.CMPT):
        figures["attention"] = mmvae.plot.attention_maps(mmvae.plot.AttentionMaps.of(model, test))
    for name, figure in figures.items():
        figure.savefig(setting.folder / f"{name}.png", dpi=150)


def main(arguments: Arguments) -> Path:
    """Runs what is asked for; writes figures and ``tables.md``, whose path it gives back."""
    console, preset = Console(), PRESETS[arguments.preset]
    root = root_of(arguments)
    labels: dict[int, Tensor] = {}
    notes = dict.fromkeys([preset.says])
    for seed in arguments.seeds:
        labels[seed], of_data = run_seed(seed, arguments, console)
        notes |= dict.fromkeys(of_data)
    text = "".join(f"{note}\n" for note in notes)
    text += f"\nMean ± standard deviation over seeds {arguments.seeds}; with missingness tables, over {preset.tables} "
    text += "of them for each seed.\n"
    for training in arguments.trainings:
        settings = {
            name: [setting_of(name, training, seed, arguments) for seed in arguments.seeds]
            for name in names_of(arguments)
        }
        results = Results(settings, labels, MODALITIES[arguments.task], preset.tables)
        text += f"\n## Trained on {training} rows\n" + results.tables_of_scores() + results.tables_of_facts()
        if "methods" in arguments.groups:
            results.curves(root / f"robustness-{training}.png")
    path = root / f"tables-{'-'.join(arguments.groups)}.md"
    write_text(path, text)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"tables: {path}")
    return path


if __name__ == "__main__":
    main(tyro.cli(Arguments))
