"""The main job: multimodal VAEs on MNIST-SVHN-Text, trained, inferred from, evaluated, plotted and reported.

    python experiments/mnist_svhn_text.py --model all --preset quick --out runs/quick

The protocol is that of Sutter et al. 2021, with its networks, likelihoods and weights; presets say what they reduce.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console

import mmvae
from mmvae import Modality, likelihoods, models, nn
from mmvae.data import ALPHABET, MultimodalDataset, data_root, decode, mnist_svhn_text
from mmvae.evaluation import METRICS, Classifier, Comparison, Evaluation, Row, compare, train_classifiers
from mmvae.models import MultimodalVAE

LATENT_DIM = 20
BETA = 2.5
SCALE = 0.75
HEADLINES = ("linear_probe", "log_likelihood", "coherence", "joint_coherence")

Name = Literal["mvae", "mmvae", "mopoe", "jmvae", "mvtcae", "iterative"]
ALL: tuple[Name, ...] = ("mvae", "mmvae", "mopoe", "jmvae", "mvtcae", "iterative")


@dataclass(frozen=True)
class Preset:
    """How much of the protocol is run."""

    says: str
    train_size: int | None
    test_size: int | None
    repeats: int
    epochs: int
    batch_size: int
    mmvae_samples: int
    mmvae_family: Literal["laplace", "normal"]
    classifier_steps: int
    evaluated: int
    importance_samples: int
    importance_rows: int


PRESETS = {
    "smoke": Preset(
        says="Preset smoke: 256 training triples, one epoch. It shows that everything runs; its numbers mean nothing.",
        train_size=256,
        test_size=128,
        repeats=1,
        epochs=1,
        batch_size=64,
        mmvae_samples=1,
        mmvae_family="normal",
        classifier_steps=10,
        evaluated=128,
        importance_samples=16,
        importance_rows=16,
    ),
    "quick": Preset(
        says="Preset quick: 8,000 training triples of one pairing, 4 epochs of batches of 32, MMVAE with K = 1 and "
        "Normal posteriors, with which it learns street digits sooner than with the protocol's Laplace; "
        "the protocol has 20 pairings and some hundred epochs. Compare the models with each other, not with papers.",
        train_size=8_000,
        test_size=1_000,
        repeats=1,
        epochs=4,
        batch_size=32,
        mmvae_samples=1,
        mmvae_family="normal",
        classifier_steps=400,
        evaluated=1_000,
        importance_samples=50,
        importance_rows=32,
    ),
    "paper": Preset(
        says="Preset paper: all triples of 20 pairings, 30 epochs of batches of 256, MMVAE with K = 30.",
        train_size=None,
        test_size=None,
        repeats=20,
        epochs=30,
        batch_size=256,
        mmvae_samples=30,
        mmvae_family="laplace",
        classifier_steps=5_000,
        evaluated=10_000,
        importance_samples=1_000,
        importance_rows=1_000,
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Train, evaluate and compare multimodal VAEs on MNIST-SVHN-Text."""

    model: Literal["mvae", "mmvae", "mopoe", "jmvae", "mvtcae", "iterative", "all"] = "all"
    """Which model, or all six side by side."""
    preset: Literal["smoke", "quick", "paper"] = "quick"
    """How much of the protocol: seconds, minutes on a CPU, hours on a GPU."""
    data: Path | None = None
    """Folder of MNIST/raw and the .mat files of SVHN; by default the environment variable MMVAE_DATA."""
    out: Path = Path("runs/mnist_svhn_text")
    """Where runs are written, a folder for each model."""
    epochs: int | None = None
    """In the place of the preset's."""
    seed: int = 0
    """Of weights, batches and draws."""
    download: bool = False
    """Let torchvision fetch files that are absent; needs a folder to write to."""
    resume: bool = False
    """Go on where an earlier call with the same folder stopped."""
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""
    gaps: bool = False
    """Measure the gaps of inference and how far unimodal posteriors are from joint ones, which takes long."""
    inception_weights: Path | None = None
    """File of pytorch-fid's weights; with it, the Fréchet distance is the FID."""


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data, which share no image, and what judges generated data."""

    train: MultimodalDataset
    validation: MultimodalDataset
    test: MultimodalDataset
    classifiers: Mapping[str, Classifier]


def read(arguments: Arguments, preset: Preset) -> Splits:
    """The data of the protocol, or what stands for it."""

    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"

    def part(train: bool, share: tuple[float, float], size: int | None, repeats: int) -> MultimodalDataset:
        return mnist_svhn_text(
            arguments.data,
            train,
            repeats=repeats,
            seed=arguments.seed,
            size=size,
            share=share,
            download=arguments.download,
            cache=arguments.out / "cache",
        )

    train = part(True, (0.0, 0.9), preset.train_size, preset.repeats)
    return Splits(
        train,
        validation=part(True, (0.9, 1.0), preset.test_size, 1),
        test=part(False, (0.0, 1.0), preset.test_size, 1),
        classifiers=train_classifiers(
            train, modalities(), steps=preset.classifier_steps, device=device, cache=arguments.out / "cache"
        ),
    )


def modalities() -> list[Modality]:
    """The three modalities with the protocol's networks and likelihoods."""
    return [
        Modality("mnist", (1, 28, 28), likelihoods.Laplace(SCALE), nn.MNISTEncoder, nn.MNISTDecoder),
        Modality("svhn", (3, 32, 32), likelihoods.Laplace(SCALE), nn.SVHNEncoder, nn.SVHNDecoder),
        Modality("text", (8,), likelihoods.Categorical(len(ALPHABET)), nn.TextEncoder, nn.TextDecoder),
    ]


def word(codes: torch.Tensor) -> str:
    """Eight codes as the string that people read."""
    return decode(codes[None])[0]


def build(name: Name, preset: Preset) -> MultimodalVAE:
    """A model of the protocol: a latent of 20, likelihoods weighted by largest size / size."""
    parts = modalities()
    if name == "mvae":
        return models.MVAE(parts, LATENT_DIM, beta=BETA, weights="balanced")
    if name == "mmvae":  # importance weights make a bound only with beta = 1
        return models.MMVAE(
            parts,
            LATENT_DIM,
            num_samples=preset.mmvae_samples,
            family=preset.mmvae_family,
            weights="balanced",
        )
    if name == "mopoe":
        return models.MoPoE(parts, LATENT_DIM, beta=BETA, weights="balanced")
    if name == "jmvae":
        return models.JMVAE(parts, LATENT_DIM, alpha=0.1, beta=BETA, weights="balanced")
    if name == "mvtcae":
        return models.MVTCAE(parts, LATENT_DIM, alpha=0.9, beta=BETA, weights="balanced")
    return models.IterativeVAE(parts, LATENT_DIM, beta=BETA, weights="balanced")


def run(name: Name, arguments: Arguments, preset: Preset, splits: Splits) -> tuple[MultimodalVAE, Evaluation]:
    """Trains a model, evaluates it, and writes its report."""
    out = arguments.out / name
    torch.manual_seed(arguments.seed)
    vae = build(name, preset)
    trained = mmvae.fit(
        vae,
        splits.train,
        validation=splits.validation,
        epochs=arguments.epochs or preset.epochs,
        batch_size=preset.batch_size,
        seed=arguments.seed,
        device=arguments.device,
        out=out,
        resume=arguments.resume,
    )
    evaluation = mmvae.evaluate(
        vae,
        splits.test,
        [*METRICS] if arguments.gaps else None,
        train=splits.train,
        classifiers=splits.classifiers,
        max_data=preset.evaluated,
        num_samples=preset.importance_samples,
        likelihood_rows=preset.importance_rows,
        seed=arguments.seed,
        inception_weights=arguments.inception_weights,
    )
    evaluation.save(out)
    mmvae.report(
        trained,
        vae,
        splits.test,
        evaluation=evaluation,
        title=f"{type(vae).__name__} on {splits.test.name}",
        notes=(preset.says, *splits.train.notes),
        render={"text": word},
    )
    return vae, evaluation


def headlines(comparison: Comparison) -> Comparison:
    """What fits a screen: probes, likelihoods and coherence, given one modality or all; the report has the rest."""

    def telling(row: Row) -> bool:
        given = row["given"].split("+")
        return row["metric"] in HEADLINES and len(given) in (1, 3) and (not row["target"] or row["target"] not in given)

    rows = [row for row in comparison.rows if telling(row)]
    values = ("metric", "given", "target", *comparison.names)  # without standard errors, which need a wider screen
    return Comparison(comparison.names, [{key: row[key] for key in values if key in row} for row in rows])


def main(arguments: Arguments) -> Path:
    """Runs the experiment; prints the comparison and the path of the report, which it gives back."""
    if arguments.download and data_root(arguments.data) is None:
        raise SystemExit("--download needs a folder to write to: pass --data, or set MMVAE_DATA.")
    console = Console()
    preset = PRESETS[arguments.preset]
    splits = read(arguments, preset)
    for note in (preset.says, *splits.train.notes):
        console.print(note, style="dim")
    chosen = ALL if arguments.model == "all" else (arguments.model,)
    trained: dict[str, MultimodalVAE] = {}
    evaluations: dict[str, Evaluation] = {}
    for name in chosen:
        console.rule(name)
        trained[name], evaluations[name] = run(name, arguments, preset, splits)
    comparison = compare(evaluations)
    comparison.save(arguments.out)
    report = mmvae.plot.comparison_report(
        arguments.out,
        evaluations,
        models=trained,
        data=splits.test,
        reports={name: arguments.out / name / "report.html" for name in chosen},
        title=f"Multimodal VAEs on {splits.test.name}",
        notes=(preset.says, *splits.train.notes),
        render={"text": word},
    )
    console.print(headlines(comparison).table())
    console.print(f"report: {report}")
    return report


if __name__ == "__main__":
    main(tyro.cli(Arguments))
