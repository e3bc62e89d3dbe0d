"""Cross-modal generalisation: a head that learned from the latents of one modality reads those of another."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mmvae.choices import numbers_checked
from mmvae.evaluation.context import Context, Inferred, mean_over_steps
from mmvae.evaluation.linear_probe import fit_logistic, labels_for_probe
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, Unavailable, make_row, share_error
from mmvae.words import Words

_VALIDATION = 0.2
"""The share of the training data on which a head's settings are chosen."""


@dataclass(frozen=True)
class Transfer:
    """How well a head that was fitted on each modality does on every other.

    Attributes:
        accuracy: 0 to 1, by source and target; with the same modality on both sides, that of the head at home.
        n: how many data points it was tested on, by target.
        majority: the share of the largest class among them, by target: what a constant answer gives.
        n_train: how many labels the head learned from, by source.
        settings: what was chosen on the validation part, by source.
    """

    accuracy: Mapping[tuple[str, str], float]
    n: Mapping[str, int]
    majority: Mapping[str, float]
    n_train: Mapping[str, int]
    settings: Mapping[str, str]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The ordered pairs of different modalities."""
        return [(source, target) for source, target in self.accuracy if source != target]

    def ratio(self, source: str, target: str) -> float:
        """The accuracy on the target over that of the target's own head; NaN if that is zero or not known."""
        home = self.accuracy.get((target, target))
        return self.accuracy[source, target] / home if home else math.nan

    def mean(self, pairs: Iterable[tuple[str, str]] | None = None) -> float:
        """The mean accuracy over some ordered pairs, by default all of different modalities."""
        values = [self.accuracy[pair] for pair in (self.pairs if pairs is None else pairs)]
        return sum(values) / len(values) if values else math.nan

    def rows(self) -> Iterator[Row]:
        """Rows of an evaluation: ``transfer`` by pair; ``transfer_mean`` and ``transfer_ratio``, means over pairs."""
        for (source, target), value in self.accuracy.items():
            yield make_row(
                "transfer",
                value,
                (source,),
                target,
                stderr=share_error(value, self.n[target]),
                n=self.n[target],
                n_train=self.n_train[source],
                majority=self.majority[target],
                setting=self.settings[source],
                note="at home" if source == target else None,
            )
        if self.pairs:
            yield make_row("transfer_mean", self.mean())
            ratios = [ratio for ratio in (self.ratio(*pair) for pair in self.pairs) if math.isfinite(ratio)]
            if ratios:
                yield make_row("transfer_ratio", sum(ratios) / len(ratios))


@metric(
    Words(
        "transfer",
        "Transfer",
        "Accuracy on the target of a classifier that was fitted on the latents of the given modality.",
        better="higher",
    ),
    Words("transfer_mean", "Transfer, mean", "Over all ordered pairs of different modalities.", better="higher"),
    Words(
        "transfer_ratio",
        "Transfer, ratio",
        "Accuracy over that of the target's own classifier, the mean over all pairs.",
        better="higher",
    ),
    about="pairs of modalities",
    costly="fits many classifiers",
)
def transfer(context: Context) -> Iterator[Row]:
    """Accuracy, on the latents given each modality, of a head fitted on the latents given one, per ordered pair.

    The head is logistic regression on posterior means (averaged over the steps of sequences), fitted on the training
    data; its penalty is chosen on a fifth of them, by the source modality alone. Rows as of
    :meth:`~mmvae.evaluation.Transfer.rows`. For other heads and fewer labels see
    :func:`~mmvae.evaluation.transfer_matrix`.

    Source: Xia et al. 2023, "Achieving cross modal generalization with multimodal unified representation"; but nothing
    is chosen on the target, nor on test data.
    """
    labels, train_labels = labels_for_probe(context)
    names = context.alone()
    order = torch.randperm(len(train_labels), generator=torch.Generator().manual_seed(context.derived_seed("transfer")))
    held_out = torch.zeros(len(train_labels), dtype=torch.bool)
    held_out[order[: round(_VALIDATION * len(order))]] = True
    train, validation, test = {}, {}, {}
    for name in context.each("transfer", names):
        latents = context.inferred_train((name,))
        whole = labelled(latents, train_labels)
        apart = held_out[latents.rows[train_labels[latents.rows] >= 0]]
        train[name], validation[name] = whole[(~apart).nonzero().flatten()], whole[apart.nonzero().flatten()]
        test[name] = labelled(context.inferred((name,)), labels)
        if len(train[name].labels.unique()) < 2 or not len(validation[name]):
            raise Unavailable(f"the training data with {name} are of one class, or too few")
        if not len(test[name]):
            raise Unavailable(f"no data point with {name} has a known class")
    if len({each.features.shape[-1] for each in test.values()}) > 1:
        raise Unavailable("the latents of the modalities are of different widths, and no head reads them all")
    yield from transfer_matrix(train, validation, test, seed=context.seed).rows()


@numbers_checked
def transfer_matrix(
    train: Mapping[str, Labelled],
    validation: Mapping[str, Labelled],
    test: Mapping[str, Labelled],
    head: Head | None = None,
    *,
    labels_per_class: int | None = None,
    seed: int = 0,
) -> Transfer:
    """Fits a head on each modality, and tests it on all.

    Args:
        train: latents by modality, to fit on.
        validation: of the same modalities; settings of a head are chosen on those of its source alone.
        test: of the modalities to test on, the same ones or others.
        head: by default :class:`~mmvae.evaluation.LogisticHead` with its defaults.
        labels_per_class: learn from so many random data points of each class alone; a smaller number gives some of
            those that a larger one gives. ``validation`` stays as it is.
        seed: of these draws and of training.

    Raises:
        ValueError: for modalities without validation data, latents of different widths, a single class to fit on, or a
            budget below 1.

    Example:
        >>> z = torch.eye(2).repeat(10, 1)
        >>> same = {name: Labelled(z, torch.arange(20) % 2) for name in ("image", "text")}
        >>> transfer_matrix(same, same, same).accuracy["image", "text"]
        1.0
    """
    if set(train) != set(validation):
        raise ValueError(f"transfer: training data of {sorted(train)}, but validation data of {sorted(validation)}.")
    if labels_per_class is not None and labels_per_class < 1:
        raise ValueError(f"labels_per_class: expected at least 1, or None for all, got {labels_per_class}.")
    widths = {name: latents.features.shape[-1] for name, latents in {**train, **validation, **test}.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"transfer: one head reads all latents, which need the same width; got {widths}.")
    chosen = head or LogisticHead()
    found: dict[tuple[str, str], float] = {}
    n_train: dict[str, int] = {}
    settings: dict[str, str] = {}
    for source, whole in train.items():
        some = whole[few_of_each(whole.labels, labels_per_class, seed)]
        if len(some.labels.unique()) < 2:
            raise ValueError(f"{source}: a head needs training data of two classes or more.")
        fitted: FittedHead = chosen.fit(some, validation[source], seed)
        settings[source], n_train[source] = fitted.setting, len(some)
        for target, latents in test.items():
            found[source, target] = accuracy(fitted.predict(latents), latents)
    majority = {name: int(each.labels.bincount().max()) / len(each) for name, each in test.items()}
    return Transfer(found, {name: len(each) for name, each in test.items()}, majority, n_train, settings)


def few_of_each(labels: Int64[Tensor, "n"], per_class: int | None, seed: int) -> Int64[Tensor, "k"]:
    """At most so many rows of each class, drawn without replacement, in their order; all rows for ``None``."""
    if per_class is None:
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    kept = [order[labels[order] == each][:per_class] for each in labels.unique()]
    return torch.cat(kept).sort().values


def labelled(latents: Inferred, labels: Int64[Tensor, "N"]) -> Labelled:
    """Posterior means with the classes of their data points, where these are known."""
    classes = labels[latents.rows]
    known = classes >= 0
    return Labelled(latents.mean[known], classes[known], latents.there[known])


@dataclass(frozen=True, eq=False)
class Labelled:
    """Latents of one modality, and the classes of their data points.

    Attributes:
        features: ``[n, D]``, or ``[n, *T, D]`` for sequences.
        labels: classes, whole numbers from 0 on.
        there: which steps of a sequence are there; all of them, if ``None``.
    """

    features: Float[Tensor, "n *T D"]
    labels: Int64[Tensor, "n"]
    there: Bool[Tensor, "n *T"] | None = None

    def __getitem__(self, rows: Int64[Tensor, "k"]) -> Labelled:
        """Some of the data points."""
        there = None if self.there is None else self.there[rows]
        return Labelled(self.features[rows], self.labels[rows], there)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class FittedHead:
    """A head that has been fitted.

    Attributes:
        predict: classes of latents, int64 ``[n]``; it looks at their features alone.
        setting: what was chosen on the validation part.
        validation: accuracy on it.
    """

    predict: Callable[[Labelled], Tensor]
    setting: str
    validation: float


@runtime_checkable
class Head(Protocol):
    """A way to read classes off latents."""

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> FittedHead:
        """A head fitted on ``train``, whose settings are the best of some on ``validation``."""


def pooled(latents: Labelled) -> Float[Tensor, "n D"]:
    """The mean over the steps that are there."""
    return mean_over_steps(latents.features, _there(latents)).float()


def flattened(latents: Labelled) -> Float[Tensor, "n F"]:
    """The steps one after another, with zeros for those that are not there."""
    return (latents.features * _there(latents).unsqueeze(-1)).float().flatten(1)


@dataclass(frozen=True)
class LogisticHead:
    """Logistic regression.

    Latents are divided by their root mean square over the training part, one number, so that the strengths mean the
    same for latents of any scale.

    Args:
        read: what it sees of the latents: :func:`pooled`, :func:`flattened`, or a function of your own.
        strengths: inverse weights of the penalty to choose among, ascending; of several that are as good, the first.
    """

    read: Callable[[Labelled], Tensor] = pooled
    strengths: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> FittedHead:
        """The regression of the strength that is best on ``validation``."""
        features = self.read(train)
        scale = _root_mean_square(features)
        fitted = []
        for strength in self.strengths:
            probe, _ = fit_logistic(features / scale, train.labels, seed, strength)

            def predict(latents: Labelled, probe: object = probe) -> Tensor:
                return torch.as_tensor(probe.predict((self.read(latents) / scale).numpy()))  # type: ignore[attr-defined]

            fitted.append(FittedHead(predict, f"C = {strength:g}", accuracy(predict(validation), validation)))
        return max(fitted, key=lambda head: head.validation)


@numbers_checked
@dataclass(frozen=True)
class StepHead:
    """A linear map of each step, the maximum over the steps, a linear map to the classes; trained by Adam.

    Latents are divided by their root mean square over the training part, one number.

    Args:
        rates: learning rates to choose among.
        epochs: of training with each; the best one is chosen too.
        batch_size: data points of a step of Adam.

    Source: Xia et al. 2023, the head of their code for classification.
    """

    rates: tuple[float, ...] = (4e-4, 4e-3)
    epochs: int = 30
    batch_size: int = 128

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> FittedHead:
        """The network of the rate and epoch that are best on ``validation``; the first of several as good."""
        classes = int(torch.cat([train.labels, validation.labels]).max()) + 1
        best: FittedHead | None = None
        for rate in self.rates:
            for epoch, network in enumerate(self._epochs(train, classes, rate, seed), 1):
                right = accuracy(network.classes(validation), validation)
                if best is None or right > best.validation:
                    best = FittedHead(copy.deepcopy(network).classes, f"rate {rate:g}, epoch {epoch}", right)
        assert best is not None  # there is a rate and an epoch
        return best

    def _epochs(self, train: Labelled, classes: int, rate: float, seed: int) -> Iterator[_Network]:
        """The network after each epoch, in evaluation mode; always the same object."""
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = _Network(train.features.shape[-1], classes, _root_mean_square(train.features[_there(train)]))
        optimiser = torch.optim.Adam(network.parameters(), rate)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(train), generator=generator).split(self.batch_size):
                some = train[rows]
                with torch.enable_grad():
                    loss = nn.functional.cross_entropy(network(some.features, _there(some)), some.labels)
                    optimiser.zero_grad()
                    loss.backward()
                optimiser.step()
            yield network


class _Network(nn.Module):
    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.each, self.head = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, features: Float[Tensor, "n *T D"], there: Bool[Tensor, "n *T"]) -> Float[Tensor, "n C"]:
        steps = self.each(features / self.scale).masked_fill(~there.unsqueeze(-1), -torch.inf)
        return self.head(steps.reshape(len(steps), -1, steps.shape[-1]).amax(1))

    @torch.no_grad()
    def classes(self, latents: Labelled) -> Int64[Tensor, "n"]:
        """The most likely class of each."""
        return self(latents.features, _there(latents)).argmax(1)


def accuracy(predicted: Int64[Tensor, "n"], latents: Labelled) -> float:
    """The share of classes that are right."""
    return float((predicted == latents.labels).double().mean())


def _there(latents: Labelled) -> Tensor:
    if latents.there is not None:
        return latents.there
    return torch.ones(latents.features.shape[:-1], dtype=torch.bool, device=latents.features.device)


def _root_mean_square(features: Tensor) -> float:
    """Of all numbers; 1 if they are zero."""
    return float(features.double().square().mean().sqrt()) or 1.0
