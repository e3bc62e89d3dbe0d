"""What is measured of a method, and the tables and curves of it."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from markdown_tables import markdown, mean_and_spread
from missing.digits import MORE_IMAGE_NOISE, MORE_TEXT_NOISE, SPACE
from missing.training import Predict, Training
from sklearn.metrics import f1_score
from torch import Tensor

import mmvae
from mmvae import Batch
from mmvae.data import Missingness, Noisy, add_noise, mask_tokens
from mmvae.storage import read_json, read_tensors, write_json, write_tensors
from mmvae.subsets import label, powerset

RATES = (0.5, 0.7, 0.9)
CURVE = tuple(step / 10 for step in range(11))

Score = Callable[[Tensor, Tensor], float]
"""From predicted and true classes to a number."""
Measure = Callable[[Mapping[str, Tensor], Tensor, int], Sequence[float]]
"""From the predictions of a method by condition, the labels and the seed to one number or several."""


@dataclass(frozen=True)
class Setting:
    """One method under one training condition and seed, and where what is measured of it is kept."""

    name: str
    training: Training
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether an earlier call measured it."""
        return (self.folder / "facts.json").exists()

    @functools.cached_property
    def predictions(self) -> dict[str, Tensor]:
        """By condition, the class that is predicted for each row of the test data; read once."""
        return read_tensors(self.folder / "predictions.safetensors")[0]

    def facts(self) -> dict[str, Any]:
        """What is known of its training."""
        return read_json(self.folder / "facts.json")

    def keep(self, predictions: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Writes what was measured; the facts last, since they say that all is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_tensors(self.folder / "predictions.safetensors", predictions)
        write_json(self.folder / "facts.json", dict(facts))


def classify(predict: Predict, test: Batch, seed: int) -> dict[str, Tensor]:
    """The predicted class of every test row from every subset, and from all modalities under more noise."""
    classes = {label(subset): predict(test, subset) for subset in powerset(test.names)}
    return classes | {condition: predict(batch, None) for condition, batch in noisier(test, seed).items()}


def noisier(test: Batch, seed: int) -> dict[str, Batch]:
    """The test data with more noise than the training data has: on the images, the text, or both."""
    images = [name for name in test.names if name != "text"]
    conditions: dict[str, Batch] = {}
    for place, (sigma, share) in enumerate(zip(MORE_IMAGE_NOISE, MORE_TEXT_NOISE, strict=True)):
        on_images: dict[str, Any] = {name: functools.partial(add_noise, sigma=sigma) for name in images}
        on_text: dict[str, Any] = {"text": functools.partial(mask_tokens, share=share, mask=SPACE)}
        kinds = {"images": on_images}
        if "text" in test.names:
            kinds |= {"text": on_text, "both": on_images | on_text}
        for kind, drawn in kinds.items():
            conditions[more(kind, place)] = Noisy(test, drawn, seed=10 * seed + 7).batch(torch.arange(test.size))
    return conditions


def more(kind: str, place: int) -> str:
    """What a level of additional noise is called."""
    return f"more noise on {kind}, level {place}"


def judged(predicted: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> Tensor:
    """The predicted classes of rows, each given what a missingness table leaves of it."""
    chosen = torch.full_like(next(iter(predicted.values())), -1)
    for subset in powerset(list(observed)):
        rows = torch.stack([observed[name] == (name in subset) for name in observed]).all(0)
        chosen = torch.where(rows, predicted[label(subset)], chosen)
    return chosen


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The share that is right."""
    return float((predicted == labels).double().mean())


def macro_f1(predicted: Tensor, labels: Tensor) -> float:
    """F1, averaged over the classes."""
    return float(f1_score(labels.numpy(), predicted.numpy(), average="macro"))


def under(condition: str) -> Measure:
    """The accuracy under a condition."""
    return lambda predicted, labels, seed: [accuracy(predicted[condition], labels)]


@dataclass(frozen=True)
class Results:
    """Everything that was measured under one training condition.

    Attributes:
        settings: by method, over the seeds.
        labels: of the test data, by seed.
        names: of the modalities.
        tables: how many missingness tables are drawn for each seed.
    """

    settings: Mapping[str, Sequence[Setting]]
    labels: Mapping[int, Tensor]
    names: tuple[str, ...]
    tables: int

    def numbers(self, name: str, measure: Measure) -> list[float]:
        """What is measured of a method, over all seeds."""
        each = self.settings[name]
        return [value for one in each for value in measure(one.predictions, self.labels[one.seed], one.seed)]

    def missing(self, kind: str, rate: float, score: Score) -> Measure:
        """The score under missingness tables of a type and rate, the same ones for all methods."""

        def measure(predicted: Mapping[str, Tensor], labels: Tensor, seed: int) -> list[float]:
            draws = range(100 * seed, 100 * seed + self.tables)
            drawn = [Missingness.by_type(len(labels), rate, kind, self.names, seed=draw) for draw in draws]
            return [score(judged(predicted, table.observed), labels) for table in drawn]

        return measure

    def table(self, title: str, columns: Mapping[str, Measure]) -> str:
        """A line for each method, a column for each measure."""
        lines = {
            name: [mean_and_spread(self.numbers(name, measure)) for measure in columns.values()]
            for name in self.settings
        }
        return markdown(title, "method", list(columns), lines)

    def tables_of_scores(self) -> str:
        """Accuracy by subset, by type and rate of missing data, F1 by the same, and accuracy under more noise."""
        subsets = [label(subset) for subset in powerset(self.names)]
        text = self.table("Accuracy given only these modalities", {each: under(each) for each in subsets})
        kinds = [(kind, rate) for kind in (*self.names, "all") for rate in RATES]
        for title, score in (("Accuracy", accuracy), ("F1-macro", macro_f1)):
            columns = {f"{kind} {rate:.0%}": self.missing(kind, rate, score) for kind, rate in kinds}
            text += self.table(f"{title}, a share of the rows lacking one modality", columns)
        levels = {"images": [f"sd {level}" for level in MORE_IMAGE_NOISE]}
        if "text" in self.names:
            levels["text"] = [f"{level:.0%}" for level in MORE_TEXT_NOISE]
            levels["both"] = [f"{one}, {other}" for one, other in zip(*levels.values(), strict=True)]
        for kind, headings in levels.items():
            columns = {heading: under(more(kind, place)) for place, heading in enumerate(headings)}
            text += self.table(f"Accuracy given all modalities, more noise on {kind}", columns)
        return text

    def tables_of_facts(self) -> str:
        """Canonical correlations before and after training, and what training costs."""
        facts = {name: [each.facts() for each in settings] for name, settings in self.settings.items()}
        pairs = list(next(iter(facts.values()))[0]["correlation after"])
        columns = [(when, pair) for pair in pairs for when in ("before", "after")]
        correlation = {
            name: [
                mean_and_spread([one[f"correlation {when}"][pair] for one in each if f"correlation {when}" in one])
                for when, pair in columns
            ]
            for name, each in facts.items()
        }
        cost = {}
        for name, each in facts.items():
            steps = [one["milliseconds per step"] for one in each if "milliseconds per step" in one]
            cost[name] = [f"{each[0]['trained parameters']:,}", f"{statistics.median(steps):.1f}" if steps else ""]
        title = "Mean canonical correlation of the latents of two single modalities, test data"
        text = markdown(title, "method", [f"{when}: {pair}" for when, pair in columns], correlation)
        return text + markdown("Cost", "method", ["trained parameters", "milliseconds per step, median"], cost)

    def curves(self, path: Path) -> None:
        """A figure of the accuracy while each modality goes missing in 0 to 100 % of the rows."""
        rows = [
            {"method": name, "missing": kind, "share": rate, "value": value}
            for name in self.settings
            for kind in self.names
            for rate in CURVE
            for value in self.numbers(name, self.missing(kind, rate, accuracy))
        ]
        mmvae.plot.robustness_curves(mmvae.plot.RobustnessCurves.of(rows, "accuracy")).savefig(path, dpi=150)
