"""How well a model that classifies predicts classes or labels, from every subset and from whatever is there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from mmvae.abilities import Predicts
from mmvae.evaluation.context import Context, Inferred
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import OBSERVED, OtherKind, Row, Unavailable, make_row, mean_and_error, share_error
from mmvae.labels import known_labels
from mmvae.subsets import label
from mmvae.words import Words

__all__ = ["classification", "classification_scores"]

Score = tuple[float, float]
"""A number, and its standard error."""


@metric(
    Words("accuracy", "Accuracy", "Share of data whose class the model predicts rightly.", better="higher"),
    Words(
        "f1_micro",
        "F1 (micro)",
        "Of all labels together, each predicted above a probability of one half.",
        better="higher",
    ),
    Words("f1_macro", "F1 (macro)", "Mean over classes or labels of their F1.", better="higher"),
    Words(
        "auroc",
        "AUROC",
        "How often a datum with the label gets a higher score than one without; the mean over labels.",
        better="higher",
    ),
    about="prediction",
    needs=(Predicts,),
    kinds="that classify",
)
def classification(context: Context) -> Iterator[Row]:
    """How well the model itself predicts the labels of the data, per subset.

    Rows, for classes: ``accuracy``; ``f1_macro``; ``auroc``, if there are two. For labels ``[N, C]`` of 0 and 1:
    ``f1_micro`` and ``f1_macro``, a label being predicted where its probability is above one half, and ``auroc``, the
    mean over the labels that some data points have and others lack. Data points with an unknown class (``None``, NaN,
    or below 0), or with an unknown label, are left out.

    A subset is scored on the data points that have every member of it. Where data is missing there are rows given
    ``"observed"`` too: over all data points, each predicted from whatever it has.
    """
    if not isinstance(context.model, Predicts):
        raise OtherKind(f"{type(context.model).__name__} does not classify (it has no method predict)")
    labels, known = _known_labels(context)
    for given, found in _each(context):
        assert found.logits is not None  # the model predicts
        rows = known[found.rows]
        if not bool(rows.any()):
            context.note(f"classification: left out for {given}, which no data point with known labels has.")
            continue
        for name, (value, error) in classification_scores(found.logits[rows], labels[found.rows][rows]).items():
            yield make_row(name, value, given, stderr=error, n=int(rows.sum()))


def _known_labels(context: Context) -> tuple[Tensor, Bool[Tensor, "N"]]:
    """Labels, classes as whole numbers, and the rows in which they are known.

    Raises:
        Unavailable: if they are known in no row.
    """
    labels = context.data.labels
    if labels is None or labels.ndim == 1:
        classes = context.labels
        return classes, classes >= 0
    found = known_labels(labels)
    if found is None:
        raise Unavailable("the data has no row whose labels are all known")
    unknown = int((~found[1]).sum())
    if unknown:
        context.note(f"labels: {unknown} of {len(labels)} rows of the data lack some label, and are left out.")
    return found


def classification_scores(logits: Float[Tensor, "n C"], labels: Tensor) -> dict[str, Score]:
    """What logits are worth, by the name of the metric.

    Args:
        logits: of C classes, of C labels, or (C = 1) of class 1 against class 0.
        labels: classes, whole numbers ``[n]``; or 0 and 1, ``[n, C]``.

    Raises:
        Unavailable: for labels that do not fit the logits.
    """
    logits, width = logits.double(), logits.shape[1]
    if labels.ndim == 2 and labels.shape[1] == width:
        return _of_labels(logits, _zeros_and_ones(labels))
    if labels.ndim != 1:
        raise Unavailable(f"the model predicts {width} classes or labels, but the data's are {tuple(labels.shape[1:])}")
    if width == 1:
        truth = _zeros_and_ones(labels).long()
        return _of_classes((logits[:, 0] > 0).long(), truth) | _auroc(logits, truth[:, None].bool())
    if labels.is_floating_point() or not 0 <= int(labels.min()) <= int(labels.max()) < width:
        raise Unavailable(f"the labels are no classes from 0 to {width - 1}, which the model tells apart")
    truth = labels.long()
    found = _of_classes(logits.argmax(1), truth)
    return found | _auroc(logits[:, 1:] - logits[:, :1], truth[:, None].bool()) if width == 2 else found


def _each(context: Context) -> Iterator[tuple[str, Inferred]]:
    """What is given, as a label, and the latents; in the end, where data is missing, those given all that is there."""
    for subset in context.each_subset("classification"):
        yield label(subset), context.inferred(subset)
    if context.incomplete:
        if OBSERVED in context.model.names:  # of a model that is none of the library's
            context.note(f"classification: no rows given whatever is there, since a modality is called {OBSERVED!r}.")
        else:
            yield OBSERVED, context.inferred(None)


def _of_classes(predicted: Int64[Tensor, "n"], truth: Int64[Tensor, "n"]) -> dict[str, Score]:
    occurring = torch.cat([predicted, truth]).unique()
    accuracy, error = mean_and_error((predicted == truth).double())
    scores = {"accuracy": (accuracy, error or share_error(accuracy, len(truth)))}
    return scores | {"f1_macro": _f1_macro(predicted[:, None] == occurring, truth[:, None] == occurring)}


def _of_labels(logits: Float64[Tensor, "n C"], truth: Bool[Tensor, "n C"]) -> dict[str, Score]:
    hits, there = _f1_parts(logits > 0, truth)
    micro, influence = _ratio(hits.sum(1), there.sum(1))
    scores = {"f1_micro": (float(micro), _error(influence)), "f1_macro": _f1_macro(logits > 0, truth)}
    return scores | _auroc(logits, truth)


def _f1_macro(predicted: Bool[Tensor, "n C"], truth: Bool[Tensor, "n C"]) -> Score:
    """The mean of the F1 of the columns, 0 for one that neither occurs nor is predicted."""
    values, influence = _ratio(*_f1_parts(predicted, truth))
    return float(values.mean()), _error(influence.mean(1))


def _f1_parts(
    predicted: Bool[Tensor, "n C"], truth: Bool[Tensor, "n C"]
) -> tuple[Float64[Tensor, "n C"], Float64[Tensor, "n C"]]:
    """Numerator and denominator of F1 = Σ 2 TP / Σ (2 TP + FP + FN), by data point and column."""
    return 2 * (predicted & truth).double(), predicted.double() + truth.double()


def _ratio(
    numerator: Float64[Tensor, "n *C"], denominator: Float64[Tensor, "n *C"]
) -> tuple[Float64[Tensor, "*C"], Float64[Tensor, "n *C"]]:
    """Σ numerator / Σ denominator, 0 for 0 / 0, and by how much each data point moves it, times n, to first order."""
    total = denominator.sum(0).clamp(min=1)  # of whole numbers
    ratio = numerator.sum(0) / total
    return ratio, (numerator - ratio * denominator) * len(numerator) / total


def _auroc(logits: Float64[Tensor, "n C"], truth: Bool[Tensor, "n C"]) -> dict[str, Score]:
    """The area under the curve, the mean over the columns in which both answers occur; nothing if there are none."""
    columns = [column for column in range(truth.shape[1]) if 0 < int(truth[:, column].sum()) < len(truth)]
    if not columns:
        return {}
    areas, influences = zip(*(_area(logits[:, column], truth[:, column]) for column in columns), strict=True)
    return {"auroc": (sum(areas) / len(areas), _error(torch.stack(influences).mean(0)))}


def _area(scores: Float64[Tensor, "n"], truth: Bool[Tensor, "n"]) -> tuple[float, Float64[Tensor, "n"]]:
    """The share of pairs of a true and a false one that are in order, ties counting half; and the data's influence.

    Source: DeLong et al. 1988.
    """
    right = torch.empty_like(scores)  # of each, the share of the other side that it is in order with
    for mine, sign in ((truth, 1), (~truth, -1)):
        right[mine] = (_ranks(sign * scores)[mine] - _ranks(sign * scores[mine])) / (~mine).sum()
    area = right[truth].mean()
    return float(area), (right - area) * len(scores) / torch.where(truth, truth.sum(), (~truth).sum())


def _ranks(values: Float64[Tensor, "n"]) -> Float64[Tensor, "n"]:
    """From 1 on, the mean of the ranks for values that are tied."""
    _, places, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[places]


def _error(influence: Float64[Tensor, "n"]) -> float:
    """The standard error of a number that the data points move so much."""
    return mean_and_error(influence)[1]


def _zeros_and_ones(labels: Tensor) -> Bool[Tensor, "*n"]:
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise Unavailable("the labels are not 0 and 1 alone")
    return labels.bool()
