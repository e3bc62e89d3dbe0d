"""Birds and their captions: four multimodal VAEs on CUB-200-2011, trained, evaluated, plotted and reported.

    python experiments/cub.py --model all --preset quick --out runs/cub

Images of 64 pixels and captions of 32 words, weighted as in Shi et al. 2019 (MMVAE), with a latent of 64; presets say
what they reduce. The data has to be there: docs/datasets.md says which files, and under which terms.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.data import CaptionVocabulary, MultimodalDataset, SourceNotFound, cub, cub_vocabulary
from mmvae.evaluation import Comparison, Evaluation, compare
from mmvae.models import MultimodalVAE

LATENT_DIM = 64
IMAGE_SHAPE = (3, 64, 64)
SCALE = 0.01  # of the Laplace around an image, as in the code of Shi et al. 2019
# No coherence: it needs a judge that tells 200 species apart, from 64 pixels or from a caption that fits many of them.
# No conditional likelihood: it is the difference of two estimates, and with so small a scale the noise of what the
# image contributes, some hundred thousand nats, hides what the caption does. What is left: what the latent knows of the
# species, whether subsets agree on it, how much of it is used, and likelihoods, each with its effective sample size.
METRICS = ("linear_probe", "cosine", "elbo", "log_likelihood", "active_units")
HEADLINES = ("linear_probe_all", "cosine", "log_likelihood", "active_units", "fid")

Name = Literal["jmvae", "mvtcae", "mopoe", "iterative"]
NAMES: tuple[Name, ...] = ("jmvae", "mvtcae", "mopoe", "iterative")


@dataclass(frozen=True)
class Preset:
    """How much of the protocol is run."""

    says: str
    train_size: int | None
    test_size: int | None
    captions: int
    epochs: int
    batch_size: int
    evaluated: int
    importance_samples: int
    importance_rows: int


PRESETS = {
    "smoke": Preset(
        says="Preset smoke: 128 training pairs, one epoch. It shows that everything runs; its numbers mean nothing.",
        train_size=128,
        test_size=64,
        captions=1,
        epochs=1,
        batch_size=32,
        evaluated=64,
        importance_samples=8,
        importance_rows=8,
    ),
    "quick": Preset(
        says="Preset quick: 4,000 training images with one caption each, 10 epochs of batches of 64; the protocol has "
        "ten captions and 50 epochs. Compare the models with each other, not with papers.",
        train_size=4_000,
        test_size=1_000,
        captions=1,
        epochs=10,
        batch_size=64,
        evaluated=4_000,
        importance_samples=50,
        importance_rows=64,
    ),
    "paper": Preset(
        says="Preset paper: all training images, each with its ten captions, 50 epochs of batches of 64.",
        train_size=None,
        test_size=None,
        captions=10,
        epochs=50,
        batch_size=64,
        evaluated=10_000,
        importance_samples=1_000,
        importance_rows=1_000,
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Train, evaluate and compare multimodal VAEs on CUB-200-2011."""

    model: Literal["jmvae", "mvtcae", "mopoe", "iterative", "all"] = "all"
    """Which model, or all side by side."""
    preset: Literal["smoke", "quick", "paper"] = "quick"
    """How much of the protocol: a minute, an hour on a CPU, hours on a GPU."""
    data: Path | None = None
    """Folder of CUB_200_2011 and the captions; by default the environment variable MMVAE_DATA."""
    out: Path = Path("runs/cub")
    """Where runs are written, a folder for each model."""
    split: Literal["official", "classes"] = "official"
    """By image, every species on both sides, which linear probes need; or by species, as Shi et al. 2019."""
    crop: bool = False
    """Cut out the birds by their bounding boxes."""
    epochs: int | None = None
    """In the place of the preset's."""
    seed: int = 0
    """Of weights, batches and draws."""
    resume: bool = False
    """Go on where an earlier call with the same folder stopped."""
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""
    inception_weights: Path | None = None
    """File of pytorch-fid's weights; with it, FIDs of generated images are measured."""


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data, which share no image, and the words of the captions."""

    train: MultimodalDataset
    validation: MultimodalDataset
    test: MultimodalDataset
    vocabulary: CaptionVocabulary

    @property
    def render(self) -> dict[str, Callable[[torch.Tensor], str]]:
        """How reports show captions: in lines."""
        return {"text": lambda codes: textwrap.fill(self.vocabulary.decode(codes), 20)}


def read(arguments: Arguments, preset: Preset) -> Splits:
    """The data of the protocol."""
    vocabulary = cub_vocabulary(arguments.data, split=arguments.split)
    vocabulary.save(arguments.out / "vocabulary.json")
    part = partial(
        cub,
        arguments.data,
        split=arguments.split,
        vocabulary=vocabulary,
        captions_per_image=preset.captions,
        crop=arguments.crop,
        cache=arguments.out / "cache",
    )
    return Splits(
        train=part(True, share=(0.0, 0.9), size=preset.train_size),
        validation=part(True, share=(0.9, 1.0), size=preset.test_size),
        test=part(False, size=preset.test_size),
        vocabulary=vocabulary,
    )


def modalities(vocabulary: CaptionVocabulary) -> list[Modality]:
    """The two modalities with the protocol's likelihoods and weights, and the networks that suit their shapes."""
    weight = vocabulary.length / torch.Size(IMAGE_SHAPE).numel()
    return [
        Modality("image", IMAGE_SHAPE, likelihoods.Laplace(SCALE), weight=weight),
        Modality("text", vocabulary.shape, likelihoods.Categorical(len(vocabulary))),
    ]


def build(name: Name, vocabulary: CaptionVocabulary) -> MultimodalVAE:
    """A model of the protocol: a latent of 64, and beta = 1 as in Shi et al. 2019."""
    parts = modalities(vocabulary)
    if name == "jmvae":
        return models.JMVAE(parts, LATENT_DIM, alpha=0.1)
    if name == "mvtcae":
        return models.MVTCAE(parts, LATENT_DIM, alpha=0.9)
    if name == "mopoe":
        return models.MoPoE(parts, LATENT_DIM)
    return models.IterativeVAE(parts, LATENT_DIM)


def run(name: Name, arguments: Arguments, preset: Preset, splits: Splits) -> tuple[MultimodalVAE, Evaluation]:
    """Trains a model, evaluates it, and writes its report."""
    out = arguments.out / name
    torch.manual_seed(arguments.seed)
    vae = build(name, splits.vocabulary)
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
        metrics=metrics(arguments),
        train=splits.train,
        classifiers={},
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
        notes=(preset.says,),
        render=splits.render,
    )
    return vae, evaluation


def metrics(arguments: Arguments) -> list[str]:
    """What is measured: species that were never seen cannot be probed for, and the FID needs its network."""
    probed = [metric for metric in METRICS if metric != "linear_probe" or arguments.split == "official"]
    return probed if arguments.inception_weights is None else [*probed, "frechet"]


def headlines(comparison: Comparison) -> Comparison:
    """What fits a screen: the metrics that tell most, without standard errors; the report has the rest."""
    values = ("metric", "given", "target", *comparison.names)
    rows = [row for row in comparison.rows if row["metric"] in HEADLINES]
    return Comparison(comparison.names, [{key: row[key] for key in values if key in row} for row in rows])


def main(arguments: Arguments) -> Path:
    """Runs the experiment; prints the comparison and the path of the report, which it gives back."""
    console = Console()
    preset = PRESETS[arguments.preset]
    splits = read(arguments, preset)
    console.print(preset.says, style="dim")
    chosen = NAMES if arguments.model == "all" else (arguments.model,)
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
        notes=(preset.says,),
        render=splits.render,
    )
    console.print(headlines(comparison).table())
    console.print(f"report: {report}")
    return report


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except SourceNotFound as missing:
        raise SystemExit(str(missing)) from None
