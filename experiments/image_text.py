"""Images with texts of which some are missing: MoLT, CMPT and late fusion, trained and measured side by side.

    python experiments/image_text.py --dataset mm_imdb --encoders models/clip-vit-base-patch32 --out runs/mm_imdb

The protocol of missing-aware prompts (Lee et al. 2023): a share of the rows of every part lost a modality, by tables
that are drawn once and kept; trained on one type of missing data, tested on all of them. The files of the data sets and
of pretrained encoders have to be there: docs/datasets.md says which. ``--encoders own`` takes the library's own small
transformers instead, pretrained on the data itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from image_text_encoders import Encoders, Pretraining, fresh, from_folders, pretrained
from markdown_tables import markdown
from rich.console import Console
from torch import Tensor, nn

import mmvae
from mmvae import models
from mmvae.data import (
    ImageText,
    Missingness,
    MultimodalDataset,
    Noisy,
    SourceNotFound,
    add_noise,
    food101,
    hateful_memes,
    mask_tokens,
    mm_imdb,
    snli_ve,
)
from mmvae.data.missingness import RATES
from mmvae.evaluation import OBSERVED, Evaluation, Row, classification_scores, make_row
from mmvae.models import MultimodalClassifier
from mmvae.modes import mode
from mmvae.nn import encoder_facts
from mmvae.sources import Source
from mmvae.storage import write_text
from mmvae.subsets import label, powerset
from mmvae.training import warmup_cosine, warmup_polynomial

NAMES = ("image", "text")
DataSet = Literal["mm_imdb", "food101", "hateful_memes", "snli_ve"]
Method = Literal["molt", "cmpt", "late_fusion"]
METHODS: tuple[Method, ...] = ("molt", "cmpt", "late_fusion")
Type = Literal["text", "image", "both"]
TYPES: tuple[Type, ...] = ("text", "image", "both")
READERS: dict[DataSet, Callable[..., ImageText]] = {
    "mm_imdb": mm_imdb,
    "food101": food101,
    "hateful_memes": hateful_memes,
    "snli_ve": snli_ve,
}
METRICS: dict[DataSet, tuple[str, ...]] = {
    "mm_imdb": ("f1_macro", "f1_micro"),
    "food101": ("accuracy",),
    "hateful_memes": ("auroc", "accuracy"),
    "snli_ve": ("accuracy",),
}
"""What tables show; everything that is measured stands in the evaluations."""
BATCH_SIZE: dict[Method, int] = {"molt": 512, "cmpt": 64, "late_fusion": 64}
READ_AT_A_TIME = 64
IMAGE_NOISE = (0.0, 0.1, 0.2, 0.5, 1.0)
TEXT_NOISE = (0.0, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Preset:
    """How much of the protocol is run."""

    says: str
    train_size: int | None
    test_size: int | None
    pretraining_epochs: int
    epochs: int


PRESETS = {
    "smoke": Preset("Preset smoke: it shows that everything runs; its numbers mean nothing.", 64, 48, 1, 1),
    "quick": Preset(
        "Preset quick: 4,000 training rows, 5 epochs. Compare the methods with each other, not with papers.",
        train_size=4_000,
        test_size=2_000,
        pretraining_epochs=5,
        epochs=5,
    ),
    "paper": Preset("Preset paper: all rows, 20 epochs.", None, None, pretraining_epochs=20, epochs=20),
}


@dataclass(frozen=True)
class Arguments:
    """Train and measure classifiers of images with texts, of which some are missing."""

    dataset: DataSet = "mm_imdb"
    """Which data set."""
    method: Literal["molt", "cmpt", "late_fusion", "all"] = "all"
    """Which classifier, or all side by side."""
    encoders: tuple[str, ...] = ("own",)
    """A local folder of CLIP; two folders, of an image and of a text encoder; or "own"."""
    pretraining: Pretraining = "labels"
    """How the library's own encoders are pretrained."""
    preset: Literal["smoke", "quick", "paper"] = "quick"
    """How much of the protocol."""
    training: Literal["complete", "text", "image", "both"] = "both"
    """What is missing in training and validation; with "complete" only the validation lacks something (both)."""
    rate: float = 0.7
    """The share of rows from which it is missing."""
    rates: tuple[float, ...] = (0.5, 0.7, 0.9)
    """Those shares under which all types are tested."""
    curves: bool = False
    """Test each modality missing in 0 to 100 % of the rows too, in steps of 10."""
    noise: bool = False
    """Test complete rows with noise on them too."""
    data: Path | None = None
    """Folder of the data sets; by default the environment variable MMVAE_DATA."""
    out: Path = Path("runs/image_text")
    """Where tables of what is missing, runs and results are written."""
    features: bool = False
    """Compute the states of frozen encoders once and keep them below --out, for MoLT and late fusion: training is then
    quick, but they take megabytes for each row of large encoders."""
    keep: bool = False
    """Keep decoded images in memory: 150 kB each at 224 pixels."""
    size: int | None = None
    """Of images, for own encoders: a multiple of 8."""
    length: int | None = None
    """Of texts, in tokens; by default 128 or what the encoder takes, and 32 words for own encoders."""
    epochs: int | None = None
    """In the place of the preset's."""
    batch_size: int | None = None
    """Rows of a step; by default 512 for MoLT, whose correlations need many complete rows, and 64 elsewhere."""
    lr: float = 1e-3
    """Learning rate."""
    seed: int = 0
    """Of weights, batches and tables of what is missing."""
    resume: bool = False
    """Go on where an earlier call with the same folder stopped."""
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data."""

    train: ImageText
    validation: ImageText
    test: ImageText


def read(arguments: Arguments, preset: Preset) -> Splits:
    """The data, as much of it as the preset wants."""
    reader = partial(READERS[arguments.dataset], arguments.data)
    return Splits(
        some_of(reader("train"), preset.train_size),
        some_of(reader("validation"), preset.test_size),
        some_of(reader("test"), preset.test_size),
    )


def some_of(data: ImageText, size: int | None) -> ImageText:
    """About so many rows, chosen at random, always the same."""
    return data if size is None or size >= len(data) else data.share(0.0, size / len(data))


def table(data: ImageText, part: str, kind: str, rate: float, arguments: Arguments) -> Missingness:
    """Which rows lost what: drawn once for all methods, and kept."""
    name = f"{arguments.dataset}-{part}-{data.num_groups}-{kind}-{100 * rate:g}-seed{arguments.seed}.npz"
    drawn = Missingness.by_type(data.num_groups, rate, kind, NAMES, arguments.seed)
    return drawn.kept_in(arguments.out / "tables" / name)


@dataclass(frozen=True)
class Prepared:
    """What all methods share: encoders, and data with what is missing in it."""

    encoders: Encoders
    train: MultimodalDataset
    validation: MultimodalDataset
    test: MultimodalDataset
    notes: tuple[str, ...]


def prepare(arguments: Arguments, preset: Preset, splits: Splits) -> Prepared:
    """Encoders, pretrained if they are the library's own, and the data as they see it."""
    own = arguments.encoders == ("own",)
    if own:
        torch.manual_seed(arguments.seed)
        words = arguments.out / f"{arguments.dataset}-vocabulary.json"
        encoders = fresh(splits.train.texts, arguments.size, arguments.length, words)
    else:
        encoders = from_folders(tuple(map(Path, arguments.encoders)), arguments.length or 128)
    see = partial(encoders.see, keep=arguments.keep)
    train, validation, test = see(splits.train), see(splits.validation), see(splits.test)
    if arguments.training != "complete":
        lost = table(splits.train, "train", arguments.training, arguments.rate, arguments)
        train = train.with_observed(splits.train.masks(lost))
    kind = "both" if arguments.training == "complete" else arguments.training
    lost = table(splits.validation, "validation", kind, arguments.rate, arguments)
    validation = validation.with_observed(splits.validation.masks(lost))
    notes = dict.fromkeys(note for data in (train, validation, test) for note in data.notes)
    if own:
        classify = partial(
            models.LateFusion, num_classes=len(splits.train.classes), task=splits.train.task, freeze=False
        )
        encoders = pretrained(
            encoders,
            train,
            validation,
            classify,
            arguments.pretraining,
            epochs=preset.pretraining_epochs,
            batch_size=arguments.batch_size or READ_AT_A_TIME,
            seed=arguments.seed,
            device=arguments.device,
        )
        notes[f"Encoders: the library's own, pretrained here ({arguments.pretraining})."] = None
    return Prepared(encoders, train, validation, test, (preset.says, *notes, *facts(encoders)))


def facts(encoders: Encoders) -> list[str]:
    """Which encoders they are, so that random ones are not taken for pretrained ones."""
    return [f"{name} encoder: {encoder_facts(module)}." for name, module in encoders.modules.items()]


def build(method: Method, encoders: Mapping[str, nn.Module], data: ImageText) -> MultimodalClassifier:
    """A classifier of the data."""
    recipe = {"molt": models.MoLT, "cmpt": models.CMPT, "late_fusion": models.LateFusion}[method]
    options: dict[str, Any] = {"modality_dropout": True} if method == "late_fusion" else {}
    return recipe(encoders, len(data.classes), task=data.task, **options)


def train(method: Method, arguments: Arguments, preset: Preset, prepared: Prepared, data: ImageText) -> Any:
    """A trained classifier, in its run folder."""
    torch.manual_seed(arguments.seed)
    model: Any = build(method, prepared.encoders.modules, data)
    out = arguments.out / f"{arguments.dataset}-{method}-{arguments.training}"
    settings: dict[str, Any] = {
        "epochs": arguments.epochs or preset.epochs,
        "batch_size": arguments.batch_size or BATCH_SIZE[method],
        "lr": arguments.lr,
        "weight_decay": 1e-2,
        "max_grad_norm": 1.0,
        "schedule": warmup_polynomial(0.1, power=0.9) if method == "cmpt" else warmup_cosine(0.1),
        "seed": arguments.seed,
        "device": arguments.device,
    }
    if arguments.features and isinstance(model, models.FrozenEncoderClassifier):
        cache = arguments.out / "features"
        features, held_out = (model.features(part, cache) for part in (prepared.train, prepared.validation))
        mmvae.fit(model.on_features(), features, validation=held_out, **settings)
        mmvae.save(model, out)
    else:
        resume = arguments.resume
        mmvae.fit(model, prepared.train, validation=prepared.validation, out=out, resume=resume, **settings)
    return model


@torch.no_grad()
def predict(model: MultimodalClassifier, data: Source, subsets: Iterable[Sequence[str]]) -> dict[str, Tensor]:
    """By subset, the logits of all rows given it alone; every row is read, and so every image decoded, once."""
    parts: dict[str, list[Tensor]] = {label(subset): [] for subset in subsets}
    with mode(model, training=False):
        for rows in torch.arange(len(data)).split(READ_AT_A_TIME):
            batch = model.prepare(data.batch(rows))
            for subset in parts:
                parts[subset].append(model.predict(model.infer(batch, subset.split("+"))).cpu())
    return {subset: torch.cat(logits) for subset, logits in parts.items()}


def evaluate(model: MultimodalClassifier, arguments: Arguments, data: ImageText, prepared: Prepared) -> Evaluation:
    """The classifier under every condition.

    What it says of a row depends on what the row has, and not on what it lost: three predictions, from the image, from
    the text and from both, are enough for any table of what is missing.
    """
    logits = predict(model, prepared.test, powerset(NAMES))
    rows = [row for given, found in logits.items() for row in scored(found, data.labels, given)]
    for kind in TYPES:
        rates = (*arguments.rates, *(RATES if arguments.curves and kind != "both" else ()))
        for rate in dict.fromkeys(rates):
            masks = data.masks(table(data, "test", kind, rate, arguments))
            rows += scored(as_observed(logits, masks), data.labels, OBSERVED, type=kind, rate=rate)
    if arguments.noise:
        rows += noisy_rows(model, arguments, data, prepared)
    said = getattr(model, "note", None)
    notes = [*prepared.notes, *([f"{type(model).__name__}: {said}."] if said else [])]
    return Evaluation(
        rows, notes, {"model": type(model).__name__, "training": arguments.training, "rate": arguments.rate}
    )


def as_observed(logits: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
    """Of each row the logits given what it has."""
    image, text = masks["image"][:, None], masks["text"][:, None]
    return torch.where(image & text, logits["image+text"], torch.where(image, logits["image"], logits["text"]))


def scored(logits: Tensor, labels: Tensor, given: str, **extras: Any) -> list[Row]:
    """What the logits are worth, a row for each metric."""
    scores = classification_scores(logits, labels).items()
    return [make_row(metric, value, given, stderr=error, n=len(labels), **extras) for metric, (value, error) in scores]


def noisy_rows(model: MultimodalClassifier, arguments: Arguments, data: ImageText, prepared: Prepared) -> list[Row]:
    """The classifier on complete rows with noise: on the images (standard deviations), the texts (shares), both."""
    tokenizer = prepared.encoders.tokenizer
    hidden = tokenizer.padding if tokenizer.mask is None else tokenizer.mask
    rows = []
    for sigma, share in zip(IMAGE_NOISE, TEXT_NOISE, strict=True):
        on_image = {"image": partial(add_noise, sigma=sigma)}
        on_text = {"text": partial(mask_tokens, share=share, mask=hidden, special=tokenizer.special)}
        levels = {"sigma": sigma}, {"share": share}, {"sigma": sigma, "share": share}
        for noise, level in zip((on_image, on_text, on_image | on_text), levels, strict=True):
            noisy = Noisy(prepared.test, noise, seed=arguments.seed)
            found = predict(model, noisy, [NAMES])["image+text"]
            rows += scored(found, data.labels, "image+text", noise="+".join(noise), **level)
    return rows


def condition(row: Row) -> str:
    """What a row of an evaluation was given, as tables name it: shares of the rows that have an image, and a text."""
    if "noise" in row:
        return f"{row['noise']} with noise, " + " and ".join(
            f"{row[key]:g}" for key in ("sigma", "share") if key in row
        )
    lost = {name: 0.0 if name in row["given"].split("+") else 100.0 for name in NAMES}
    if row["given"] == OBSERVED:
        share = 100 * row["rate"] / (2 if row["type"] == "both" else 1)
        lost = {name: share if row["type"] in (name, "both") else 0.0 for name in NAMES}
    return " / ".join(f"{100 - lost[name]:g}" for name in NAMES)


def results(evaluations: Mapping[str, Evaluation], arguments: Arguments) -> str:
    """Tables in Markdown: a line for each condition, a column for each method."""
    text = f"# {arguments.dataset}, trained on {arguments.training}, {100 * arguments.rate:g} %\n"
    for metric in METRICS[arguments.dataset]:
        cells: dict[str, list[str]] = {}
        for place, evaluation in enumerate(evaluations.values()):
            for row in evaluation.select(metric):
                line = cells.setdefault(condition(row), [""] * len(evaluations))
                line[place] = f"{100 * row['value']:.2f} ± {100 * row.get('stderr', float('nan')):.2f}"
        text += markdown(f"{metric}, in percent, ± its standard error", "image % / text %", list(evaluations), cells)
    notes = dict.fromkeys(note for evaluation in evaluations.values() for note in evaluation.notes)
    return text + "\n" + "".join(f"- {note}\n" for note in notes)


def main(arguments: Arguments) -> Path:
    """Runs the experiment; prints the tables and gives back their path."""
    console = Console()
    preset = PRESETS[arguments.preset]
    splits = read(arguments, preset)
    console.print(preset.says, style="dim")
    prepared = prepare(arguments, preset, splits)
    evaluations: dict[str, Evaluation] = {}
    for method in METHODS if arguments.method == "all" else (arguments.method,):
        console.rule(method)
        model = train(method, arguments, preset, prepared, splits.train)
        evaluations[method] = evaluate(model, arguments, splits.test, prepared)
        evaluations[method].save(arguments.out / f"{arguments.dataset}-{method}-{arguments.training}")
    path = arguments.out / f"{arguments.dataset}-{arguments.training}.md"
    write_text(path, results(evaluations, arguments))
    console.print(path.read_text(encoding="utf-8"), markup=False)
    return path


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except SourceNotFound as missing:
        raise SystemExit(str(missing)) from None
