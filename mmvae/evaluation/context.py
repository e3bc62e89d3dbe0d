"""What metrics share: the data, the subsets, latents that are computed once, seeds, notes, progress."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.abilities import Evaluated, Predicts
from mmvae.batch import Batch
from mmvae.evaluation.results import Unavailable
from mmvae.inference import infer
from mmvae.labels import class_numbers
from mmvae.latents import Latents
from mmvae.layout import Layout
from mmvae.literal import without_markup
from mmvae.networks.masked import masked_mean
from mmvae.seeds import derive_seed
from mmvae.sources import Source
from mmvae.subsets import label

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True, eq=False)
class Inferred:
    """The latents of those data points that have every member of a subset.

    Attributes:
        rows: which data points, int64 ``[n]`` on the CPU, ascending.
        mean: posterior means ``[n, D]``, or ``[n, *T, D]`` where latents are sequences, on the CPU.
        draw: one draw from each posterior, of the shape of ``mean``, on the CPU.
        point_mass: whether the posterior is deterministic.
        codes: of models with a codebook, ``[n, *T]`` on the CPU, -1 at steps that are not there; otherwise ``None``.
        logits: of models that classify, ``[n, C]`` on the CPU; otherwise ``None``.
        layout: columns of the latent, shared and private; ``None`` where all are shared.
    """

    rows: Int64[Tensor, "n"]
    mean: Float[Tensor, "n *T D"]
    draw: Float[Tensor, "n *T D"]
    point_mass: bool
    codes: Int64[Tensor, "n *T"] | None = None
    logits: Float[Tensor, "n C"] | None = None
    layout: Layout | None = None

    @property
    def there(self) -> Bool[Tensor, "n *T"]:
        """Which steps of the latents are there; all of them, where no codes say otherwise."""
        return steps_there(self.mean, self.codes)

    @property
    def flat(self) -> Float[Tensor, "n F"]:
        """The means, those of sequences step after step in one row, with zeros for steps that are not there."""
        return (self.mean * self.there.unsqueeze(-1)).flatten(1)

    @property
    def shared(self) -> Float[Tensor, "n F"]:
        """The means of the shared latents; all of :attr:`flat`, of a model without private ones."""
        return self.flat if self.layout is None or self.layout.is_shared else self.mean[:, self.layout.columns()]

    def private(self, name: str) -> Float[Tensor, "n F"] | None:
        """The means of a modality's private latents, or ``None`` if it has none."""
        if self.layout is None or name not in self.layout.private:
            return None
        return self.mean[:, self.layout.columns(name)]

    @property
    def pooled(self) -> Float64[Tensor, "n D"]:
        """The means, those of sequences averaged over the steps that are there."""
        return mean_over_steps(self.mean, self.there)

    def places(self, rows: Int64[Tensor, "k"]) -> Int64[Tensor, "k"]:
        """Where some of ``rows`` stand in it."""
        return torch.searchsorted(self.rows, rows)


def joined(parts: Sequence[Inferred]) -> Inferred:
    """The latents of consecutive data points as one."""
    first = parts[0]
    return Inferred(
        torch.cat([part.rows for part in parts]),
        torch.cat([part.mean for part in parts]),
        torch.cat([part.draw for part in parts]),
        first.point_mass,
        None if first.codes is None else torch.cat([part.codes for part in parts]),  # type: ignore[misc]
        None if first.logits is None else torch.cat([part.logits for part in parts]),  # type: ignore[misc]
        first.layout,
    )


def steps_there(mean: Float[Tensor, "n *T D"], codes: Int64[Tensor, "n *C"] | None) -> Bool[Tensor, "n *T"]:
    """Which steps of latents are there; all of them (one a row, without steps), where no codes say otherwise."""
    if codes is None or codes.shape != mean.shape[:-1]:
        return torch.ones(mean.shape[:-1], dtype=torch.bool, device=mean.device)
    return codes >= 0


def mean_over_steps(features: Float[Tensor, "n *T D"], there: Bool[Tensor, "n *T"]) -> Float64[Tensor, "n D"]:
    """Features averaged over the steps that are there (zero where none is); those without steps as they are."""
    steps = features.double().reshape(len(features), -1, features.shape[-1])
    return masked_mean(steps, there.reshape(len(features), -1))


_T = TypeVar("_T")
_BLOCK = 2048
"""Rows whose latents are drawn with one seed. It is no setting, since draws would depend on it."""


class Context:
    """One evaluation: handed to each metric in turn.

    Attributes:
        model: in evaluation mode; metrics run without gradients.
        device: of the model.
        data: the data points that are evaluated, as one batch.
        train: labelled training data as one batch, or ``None``; named classes are numbered as those of ``data``.
        names: the modalities that are observed in some data point, in the model's order.
        subsets: on which to report.
        joint: all of ``names``.
        classifiers: by modality; each takes data to logits.
        classifiers_learned: whether they learned from ``train``, and so know the names of its classes.
        num_samples: K, draws per data point where importance is sampled.
        weighed: which data points importance is sampled for, bool ``[N]``.
        prior_samples: how many draws of the prior are looked at.
        batch_size: rows at a time; changes no number.
        inception_weights: a file with the weights of the Inception network, or ``None``.
        notes: what is left out, and why.
        asked: whether metrics were asked for by name, so that poor numbers are reported too.
        private_labels: ``{modality: int64 [N]}``, classes of what modalities have for themselves, -1 where unknown.
        train_private_labels: the same of the training data.
    """

    def __init__(
        self,
        model: Evaluated,
        data: Batch,
        *,
        train: Batch | None,
        subsets: Sequence[tuple[str, ...]],
        classifiers: Callable[[], Mapping[str, nn.Module]],
        classifiers_learned: bool = False,
        num_samples: int,
        weighed: Bool[Tensor, "N"],
        prior_samples: int,
        seed: int,
        batch_size: int,
        inception_weights: Path | None,
        progress: Progress,
        asked: bool = True,
        private_labels: Mapping[str, Int64[Tensor, "N"]] | None = None,
        train_private_labels: Mapping[str, Int64[Tensor, "T"]] | None = None,
    ) -> None:
        self.asked = asked
        self.private_labels, self.train_private_labels = private_labels or {}, train_private_labels or {}
        self.model, self.data, self.train = model, data, train
        self.device = device_of(model)
        self.names = observed_names(model, data)
        self.joint = self.names
        self.subsets = tuple(subsets)
        self.num_samples, self.weighed, self.prior_samples = num_samples, weighed, prior_samples
        self.seed, self.batch_size = seed, batch_size
        self.inception_weights = inception_weights
        self.classifiers_learned = classifiers_learned
        self.notes: list[str] = []
        self._classifiers, self._progress = classifiers, progress
        self._kept: dict[Hashable, Any] = {}

    @property
    def labels(self) -> Int64[Tensor, "N"]:
        """Classes of the evaluated data points on the CPU, -1 where unknown; a note says of how many that is so.

        Raises:
            Unavailable: if the data has no classes.
        """
        return self.once("labels", lambda: self._classes_of(self.data, "the data"))

    @property
    def train_labels(self) -> Int64[Tensor, "T"]:
        """Classes of the training data, as :attr:`labels`.

        Raises:
            Unavailable: if there is no training data, or it has no classes.
        """
        train = self.train
        if train is None:
            raise Unavailable("there is no training data to fit on; pass train=")
        return self.once("train labels", lambda: self._classes_of(train, "the training data"))

    @property
    def classifiers(self) -> Mapping[str, nn.Module]:
        """By modality; trained when they are first asked for."""
        return self.once("classifiers", self._classifiers)

    def once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What ``make`` gives, computed at the first call with this key and kept for the others."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def note(self, text: str) -> None:
        """Records, once, what is left out and why."""
        if text not in self.notes:
            self.notes.append(text)

    def rows(self, subset: Iterable[str], data: Batch | None = None) -> Int64[Tensor, "n"]:
        """The data points that have every member of the subset."""
        return rows_with(self.data if data is None else data, subset)

    @property
    def incomplete(self) -> bool:
        """Whether some data point lacks a modality that others have."""
        return not all(bool(self.data.observed[name].all()) for name in self.names)

    def inferred(self, subset: tuple[str, ...] | None) -> Inferred:
        """The latents of the evaluated data given a subset; or, for ``None``, given whatever each data point has."""
        return self.once(("inferred", subset), lambda: self._infer(self.data, subset, "data"))

    def inferred_train(self, subset: tuple[str, ...]) -> Inferred:
        """The latents of the training data, given a subset.

        Raises:
            Unavailable: if there is no training data that has the subset.
        """
        train = self.train
        if train is None or any(name not in train.names for name in subset) or not len(self.rows(subset, train)):
            raise Unavailable(f"there is no training data with {label(subset)}; pass train=")
        return self.once(("train", subset), lambda: self._infer(train, subset, "train"))

    def each(self, description: str, items: Sequence[_T]) -> Iterator[_T]:
        """The items one by one, with a progress bar."""
        task = self._progress.add_task(without_markup(description), total=len(items))
        for item in items:
            yield item
            self._progress.advance(task)
        self._progress.remove_task(task)

    def each_subset(self, metric: str) -> Iterator[tuple[str, ...]]:
        """The subsets that some data point has; for the others there is a note."""
        for subset in self.each(metric, self.subsets):
            if len(self.rows(subset)):
                yield subset
            else:
                self.note(f"{label(subset)}: left out, since no data point has all of it.")

    def alone(self, least: int = 2) -> tuple[str, ...]:
        """The modalities that are subsets to report on by themselves, and that some data point has.

        Raises:
            Unavailable: if there are fewer than ``least``.
        """
        names = tuple(subset[0] for subset in self.subsets if len(subset) == 1 and len(self.rows(subset)))
        if len(names) < least:
            raise Unavailable(f"it needs {least} single modalities among the subsets, and there are {len(names)}")
        return names

    def covariates_of(self, rows: Int64[Tensor, "n"]) -> dict[str, Tensor]:
        """The covariates of some data points by name, on the device of the model."""
        there = self.data.covariates
        return {name: value[rows.to(value.device)].to(self.device) for name, value in there.items()}

    def reseed(self, *words: object) -> None:
        """Sets the seed of the draws that follow, from the evaluation's seed and these words; tuples are unordered."""
        seed = self.derived_seed(*words)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def derived_seed(self, *words: object) -> int:
        """A seed from the evaluation's seed and these words; the order of names in a tuple does not matter."""
        parts = (label(sorted(word)) if isinstance(word, tuple) else str(word) for word in words)
        return derive_seed(self.seed, "evaluate", *parts)

    def _classes_of(self, data: Batch, what: str) -> Int64[Tensor, "N"]:
        labels = class_numbers(data.labels)
        if labels is None:
            raise Unavailable(f"{what} {no_classes(data.labels)}")
        unknown = int((labels < 0).sum())
        if unknown:
            self.note(
                f"labels: {unknown} of {len(labels)} rows of {what} have no class; what needs classes leaves them out."
            )
        if len(labels[labels >= 0].unique()) == 1:
            self.note(f"labels: {what} has a single class; scores of telling classes apart mean little.")
        return labels

    def latents(
        self, subset: tuple[str, ...], rows: Int64[Tensor, "n"], *words: object
    ) -> Iterator[tuple[Int64[Tensor, "b"], Latents]]:
        """Blocks of rows of the data with their latents, each with the generators seeded for the draws that follow.

        Args:
            subset: Modalities that inference sees.
            rows: Rows that have all of them.
            words: What the draws are for, as of :meth:`reseed`.
        """
        return self._in_blocks(self.data, subset, subset, rows, *words)

    def _in_blocks(
        self,
        data: Batch,
        members: Sequence[str],
        subset: tuple[str, ...] | None,
        rows: Int64[Tensor, "n"],
        *words: object,
    ) -> Iterator[tuple[Int64[Tensor, "b"], Latents]]:
        for number, block in enumerate(rows.split(_BLOCK)):
            batch = data[block.to(data.device)].restrict(members)
            latents = infer(self.model, batch, subset, batch_size=self.batch_size, progress=False)
            self.reseed(*words, subset, number)
            yield block, latents

    def _infer(self, data: Batch, subset: tuple[str, ...] | None, which: str) -> Inferred:
        members = self.names if subset is None else subset
        rows = self.rows(members, data) if subset is not None else rows_with_any(data, members)
        parts: list[Inferred] = []
        for block, latents in self._in_blocks(data, members, subset, rows, "draw", which):
            logits = self.model.predict(latents).float().cpu() if isinstance(self.model, Predicts) else None
            parts.append(
                Inferred(
                    block,
                    latents.mean.float().cpu(),
                    latents.sample().float().cpu(),
                    is_point_mass(latents.distribution),
                    None if latents.codes is None else latents.codes.cpu(),
                    logits,
                    latents.layout,
                )
            )
        return joined(parts)


def rows_with(data: Batch, subset: Iterable[str]) -> Int64[Tensor, "n"]:
    """The rows of a batch in which every member of the subset is observed, on the CPU."""
    present = torch.stack([data.observed[name] for name in subset]).all(0)
    return present.nonzero().flatten().cpu()


def rows_with_any(data: Batch, names: Iterable[str]) -> Int64[Tensor, "n"]:
    """The rows of a batch in which some of these modalities is observed, on the CPU."""
    present = torch.stack([data.observed[name] for name in names]).any(0)
    return present.nonzero().flatten().cpu()


def observed_names(model: Evaluated, data: Batch) -> tuple[str, ...]:
    """The model's modalities that are observed in some row of the data, in the model's order."""
    return tuple(name for name in model.names if name in data.names and bool(data.observed[name].any()))


def no_classes(labels: Tensor | None) -> str:
    """Why labels are no classes, after the words "the data"."""
    wanted = "(one whole number or name for each row)"
    if labels is None:
        return f"has no class labels {wanted}"
    if labels.ndim > 1 and labels.shape[1:] != (1,):
        return f"has labels of shape {tuple(labels.shape[1:])} for each row, and no classes {wanted}"
    if labels.is_floating_point() and not bool(labels.isnan().all()):
        return f"has real numbers as labels, and no classes {wanted}"
    return f"has no row whose class is known {wanted}"


def gather(source: Source, max_rows: int, seed: int) -> Batch:
    """All rows of a source as one batch, or ``max_rows`` of them, chosen at random and kept in their order.

    A dataset that draws some modality anew at each access is read once here, so that all metrics see the same.
    """
    return source.batch(rows_to_gather(len(source), max_rows, seed))


def rows_to_gather(size: int, max_rows: int, seed: int) -> Int64[Tensor, "n"]:
    """The rows that :func:`gather` takes of a source of this size, ascending."""
    if size <= max_rows:
        return torch.arange(size)
    chosen = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:max_rows]
    return chosen.sort().values


def device_of(module: Any) -> torch.device:
    """Where a module's weights lie; the CPU, if it has none."""
    parameter = next(iter(module.parameters()), None)
    return torch.device("cpu") if parameter is None else parameter.device


def is_point_mass(distribution: Distribution) -> bool:
    """Whether a posterior is deterministic, so that it has no density."""
    import pyro.distributions as dist

    while isinstance(distribution, torch.distributions.Independent):
        distribution = distribution.base_dist
    return isinstance(distribution, dist.Delta)
