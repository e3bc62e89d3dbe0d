"""Cross-modal generalisation: a head that learned from the latents of one modality reads those of another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from mmvae.evaluation.context import Context
from mmvae.evaluation.inferred import Inferred
from mmvae.evaluation.linear_probe import labels_for_probe
from mmvae.evaluation.results import Row, Unavailable, make_row
from mmvae.evaluation.transfer_heads import FittedHead, Head, Labelled, LogisticHead, accuracy

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
            error = math.sqrt(value * (1 - value) / self.n[target])
            yield make_row(
                "transfer",
                value,
                (source,),
                target,
                stderr=error,
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
