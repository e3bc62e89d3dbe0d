"""Does aligning unimodal posteriors to a refined joint posterior make them better, and what does it depend on?

    python experiments/ablation_iterative.py --task usps --preset laptop --out runs/ablation

Iterative amortized inference (a reconstruction from the abstract of arXiv 2410.11403) beside the models that it is to
improve on, and its parts one by one, over several seeds: tables of means and standard deviations, and of differences
seed by seed. A variant that was finished by an earlier call with the same folder is read, not run again.
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
from markdown_tables import markdown
from rich.console import Console

import mmvae
from mmvae import Modality, likelihoods, models, nn
from mmvae.data import ALPHABET, MultimodalDataset, mnist_svhn_text, mnist_usps_text
from mmvae.evaluation import Evaluation, across_seeds, paired_differences, train_classifiers
from mmvae.models import MultimodalVAE
from mmvae.storage import write_text
from mmvae.subsets import label, powerset

LATENT_DIM = 20
SCALE = 0.75
HIDDEN = (256,)
METRICS = ("linear_probe", "cosine", "coherence", "frechet")
Task = Literal["usps", "street"]
Group = Literal["models", "steps", "students", "weights", "start"]


@dataclass(frozen=True)
class Preset:
    """How much is trained and measured."""

    says: str
    train_size: Mapping[Task, int]
    test_size: int
    repeats: int
    epochs: int
    batch_size: int
    classifier_steps: int
    gap_rows: int


PRESETS = {
    "smoke": Preset(
        says="Preset smoke: it shows that everything runs; its numbers mean nothing.",
        train_size={"usps": 128, "street": 128},
        test_size=64,
        repeats=1,
        epochs=1,
        batch_size=64,
        classifier_steps=5,
        gap_rows=4,
    ),
    "laptop": Preset(
        says="Preset laptop: a few hundred steps of small networks; compare variants with each other, not with papers.",
        train_size={"usps": 12_000, "street": 12_000},
        test_size=1_000,
        repeats=2,
        epochs=5,
        batch_size=128,
        classifier_steps=400,
        gap_rows=32,
    ),
    "paper": Preset(
        says="Preset paper: 20 pairings, 30 epochs of batches of 256.",
        train_size={"usps": 2_000_000, "street": 2_000_000},
        test_size=10_000,
        repeats=20,
        epochs=30,
        batch_size=256,
        classifier_steps=5_000,
        gap_rows=256,
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Compare iterative amortized inference with its neighbours, and take it apart."""

    task: Task = "usps"
    """MNIST with USPS and text, or with street digits (SVHN, or rendered ones) and text."""
    preset: Literal["smoke", "laptop", "paper"] = "laptop"
    """Seconds, an hour on two cores, hours on a GPU."""
    groups: tuple[Group, ...] = ("models", "steps", "students", "weights", "start")
    """Which comparisons to make."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of weights, batches, draws and pairings."""
    data: Path | None = None
    """Folder of the data sets; by default the environment variable MMVAE_DATA."""
    out: Path = Path("runs/ablation_iterative")
    """Where runs and tables are written."""
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""


Parts = Sequence[Modality]
Made = Callable[[Parts, Mapping[str, MultimodalVAE]], MultimodalVAE]
"""Makes a variant from the modalities and the variants of the same seed that were trained before it."""


def iterative(parts: Parts, trained: Mapping[str, MultimodalVAE], **options: Any) -> MultimodalVAE:
    """IterativeVAE with balanced weights, unless others are given."""
    return models.IterativeVAE(parts, LATENT_DIM, **{"weights": "balanced", **options})


def students(parts: Parts, trained: Mapping[str, MultimodalVAE], align_to: str) -> MultimodalVAE:
    """New students on the frozen generative model and refinement of the variant "iterative"."""
    return models.IterativeVAE.on(trained["iterative"], align_to=align_to)


def classic(parts: Parts, trained: Mapping[str, MultimodalVAE], kind: str, **options: Any) -> MultimodalVAE:
    """One of the five classic models with balanced weights."""
    return getattr(models, kind)(parts, LATENT_DIM, weights="balanced", **options)


VARIANTS: dict[str, tuple[Group, Made]] = {
    "iterative": ("models", iterative),
    "T=0, stopped teacher": ("models", functools.partial(iterative, num_steps=0)),
    "JMVAE, alpha 0.1": ("models", functools.partial(classic, kind="JMVAE", alpha=0.1)),
    "JMVAE, alpha 1": ("models", functools.partial(classic, kind="JMVAE", alpha=1.0)),
    "MVTCAE": ("models", functools.partial(classic, kind="MVTCAE")),
    "MVAE": ("models", functools.partial(classic, kind="MVAE")),
    "MMVAE, K 1": ("models", functools.partial(classic, kind="MMVAE", num_samples=1)),
    "MoPoE": ("models", functools.partial(classic, kind="MoPoE")),
    "T=1": ("steps", functools.partial(iterative, num_steps=1)),
    "T=3": ("steps", functools.partial(iterative, num_steps=3)),
    "T=8": ("steps", functools.partial(iterative, num_steps=8)),
    "students of the refined": ("students", functools.partial(students, align_to="refined")),
    "students of the initial": ("students", functools.partial(students, align_to="initial")),
    "iterative, unit weights": ("weights", functools.partial(iterative, weights=None)),
    "T=0, unit weights": ("weights", functools.partial(iterative, weights=None, num_steps=0)),
    "start: product with prior": ("start", functools.partial(iterative, base="mvae")),
    "start: product": ("start", functools.partial(iterative, base="mvtcae")),
}
PAIRS = (
    ("iterative", "T=0, stopped teacher"),
    ("iterative", "JMVAE, alpha 0.1"),
    ("iterative", "JMVAE, alpha 1"),
    ("students of the refined", "students of the initial"),
    ("iterative, unit weights", "T=0, unit weights"),
)
"""Differences that are reported seed by seed."""


Column = tuple[str, str, str]
"""A metric, what is given, and the target (or "")."""

BETWEEN_0_AND_1 = ("linear_probe", "linear_probe_all", "cosine", "cosine_shuffled", "coherence", "closed_share")
GAPS = ("initial_gap", "refinement_gain", "closed_share", "amortization_gap", "approximation_gap")


def layout(names: Sequence[str]) -> dict[str, dict[str, Column]]:
    """The tables: by title, the columns by heading."""
    every = [label(subset) for subset in powerset(names)]
    across = [(one, other) for one in names for other in names if one != other]

    def each(metric: str, given: Sequence[str]) -> dict[str, Column]:
        return {one: (metric, one, "") for one in given}

    def pairs(metric: str) -> dict[str, Column]:
        return {f"{one} \N{RIGHTWARDS ARROW} {other}": (metric, one, other) for one, other in across}

    return {
        "Linear accuracy, 500 labels": each("linear_probe", every),
        "Linear accuracy, all labels": each("linear_probe_all", every),
        "Cosine similarity of the mean to that from all modalities": each("cosine", names),
        "The same between different data: the floor": each("cosine_shuffled", names),
        "Coherence of what is generated": pairs("coherence"),
        "Fréchet distance in the classifiers' feature space (lower is better)": pairs("classifier_feature_fd"),
        "KL of the unimodal posterior from the joint one, nats": each("student_kl", names),
        "Gaps of the joint posterior, honest nats": {name.replace("_", " "): (name, every[-1], "") for name in GAPS},
    }


def modalities(task: Task) -> list[Modality]:
    """Small networks: one hidden layer for images, the protocol's for text."""

    def image(name: str, shape: tuple[int, ...]) -> Modality:
        encoder = functools.partial(nn.MLPEncoder, shape, hidden=HIDDEN)
        decoder = functools.partial(nn.MLPDecoder, shape=shape, hidden=HIDDEN)
        return Modality(name, shape, likelihoods.Laplace(SCALE), encoder, decoder)

    other = image("usps", (1, 16, 16)) if task == "usps" else image("svhn", (3, 32, 32))
    text = Modality("text", (8,), likelihoods.Categorical(len(ALPHABET)), nn.TextEncoder, nn.TextDecoder)
    return [image("mnist", (1, 28, 28)), other, text]


def read(arguments: Arguments, preset: Preset, seed: int) -> tuple[MultimodalDataset, MultimodalDataset]:
    """Training and test data, which share no image."""
    make = mnist_usps_text if arguments.task == "usps" else mnist_svhn_text
    cache = arguments.out / "cache"
    size = preset.train_size[arguments.task]
    train = make(arguments.data, True, repeats=preset.repeats, seed=seed, size=size, cache=cache)
    return train, make(arguments.data, False, repeats=1, seed=seed, size=preset.test_size, cache=cache)


def run(name: str, seed: int, arguments: Arguments, trained: dict[str, MultimodalVAE], data: Callable[[], Any]) -> None:
    """Trains and evaluates a variant, as far as no earlier call has; "iterative" is kept for those that build on it."""
    preset, folder = PRESETS[arguments.preset], folder_of(name, seed, arguments)
    group, make = VARIANTS[name]
    wanted: dict[Path, Callable[[MultimodalVAE], Evaluation]] = {
        folder: lambda vae: judged(vae, preset, seed, *data()),
        folder / "gaps": lambda vae: gaps(vae, preset, seed, data()[1], group in ("models", "weights")),
    }
    missing = [path for path in wanted if not (path / "evaluation.json").exists()]
    if not missing and name != "iterative":
        return
    torch.manual_seed(seed)
    vae = make(modalities(arguments.task), trained)
    if missing:
        mmvae.fit(
            vae,
            data()[0],
            epochs=preset.epochs,
            batch_size=preset.batch_size,
            seed=seed,
            device=arguments.device,
            out=folder,
            resume=True,
        )
    else:
        vae = mmvae.load(folder)
    for path in missing:
        wanted[path](vae).save(path)
    if name == "iterative":
        trained[name] = vae


def judged(
    vae: MultimodalVAE, preset: Preset, seed: int, train: MultimodalDataset, test: MultimodalDataset, judges: Any
) -> Evaluation:
    """How good the latents of each subset are, and what is generated from them."""
    evaluation = mmvae.evaluate(vae, test, METRICS, train=train, classifiers=judges, seed=seed)
    evaluation.settings["data"] = list(train.notes)  # which tables repeat, also those of a later call
    return evaluation


def gaps(vae: MultimodalVAE, preset: Preset, seed: int, test: MultimodalDataset, of_inference: bool) -> Evaluation:
    """How far unimodal posteriors are from the joint one, and (which takes long) that from the best Gaussian."""
    metrics = ["students", "inference_gaps"] if of_inference else ["students"]
    settings: dict[str, Any] = {"num_samples": 200, "likelihood_rows": preset.gap_rows, "seed": seed}
    single = [(name,) for name in vae.names]
    return mmvae.evaluate(vae, test, metrics, subsets=[*single, vae.names], **settings)


def folder_of(name: str, seed: int, arguments: Arguments) -> Path:
    """Where the run of a variant lies."""
    return run_folder(arguments.out / arguments.task, name, seed)


def finished(name: str, seed: int, arguments: Arguments) -> Evaluation:
    """All numbers of a variant."""
    folder = folder_of(name, seed, arguments)
    first, second = Evaluation.load(folder), Evaluation.load(folder / "gaps")
    return Evaluation([*first.rows, *second.rows], settings=first.settings)


def cell(evaluation: Evaluation, column: Column, sign: str = "") -> str:
    """Mean and standard deviation over the seeds."""
    rows = evaluation.select(*column)
    if not rows:
        return ""
    digits = 3 if column[0] in BETWEEN_0_AND_1 else 1
    spread = f" ± {rows[0]['sd']:.{digits}f}" if "sd" in rows[0] else ""
    return f"{rows[0]['value']:{sign}.{digits}f}{spread}"


def tables(evaluations: Mapping[str, Evaluation], names: Sequence[str], first: str, sign: str = "") -> str:
    """A Markdown table for each metric, a line for each evaluation."""
    text = ""
    for title, columns in layout(names).items():
        lines = {name: [cell(each, column, sign) for column in columns.values()] for name, each in evaluations.items()}
        text += markdown(title, first, list(columns), lines)
    return text


def main(arguments: Arguments) -> Path:
    """Runs what is asked for; writes ``tables.md``, whose path it gives back."""
    console, preset = Console(), PRESETS[arguments.preset]
    chosen = [name for name, (group, _) in VARIANTS.items() if group in arguments.groups]
    needed = ["iterative", *chosen] if "students" in arguments.groups else chosen
    for seed in arguments.seeds:

        @functools.cache
        def data(seed: int = seed) -> tuple[Any, Any, Any]:
            train, test = read(arguments, preset, seed)
            judges = train_classifiers(
                train, modalities(arguments.task), steps=preset.classifier_steps, cache=arguments.out / "cache"
            )
            return train, test, judges

        trained: dict[str, MultimodalVAE] = {}
        for name in dict.fromkeys(needed):
            console.rule(f"{name}, seed {seed}")
            run(name, seed, arguments, trained, data)
    found = {name: [finished(name, seed, arguments) for seed in arguments.seeds] for name in chosen}
    names = [each.name for each in modalities(arguments.task)]
    of_data = [note for each in found.values() for one in each for note in one.settings.get("data", ())]
    notes = dict.fromkeys([preset.says, *of_data])
    text = "".join(f"{note}\n" for note in notes) + f"\nMean ± standard deviation over seeds {arguments.seeds}.\n"
    text += tables({name: across_seeds(each) for name, each in found.items()}, names, "variant")
    pairs = {f"{a} minus {b}": paired_differences(found[a], found[b]) for a, b in PAIRS if a in found and b in found}
    text += "\n## Differences, seed by seed\n" + tables(pairs, names, "difference", "+")
    path = arguments.out / arguments.task / "tables.md"
    write_text(path, text)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"tables: {path}")
    return path


if __name__ == "__main__":
    main(tyro.cli(Arguments))
