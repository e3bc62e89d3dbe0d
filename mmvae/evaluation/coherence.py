"""Whether what is generated belongs to the class of what was given, and to one class across modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.evaluation.context import Context
from mmvae.evaluation.generation import Reading, generator_of, no_judges, readings, real_readings, sampler_of
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import OtherKind, Row, Unavailable, make_row, share_error
from mmvae.subsets import label
from mmvae.words import Words

_FEWEST_MODALITIES = 3
"""One to give, and two that may disagree."""


@metric(
    Words(
        "coherence",
        "Coherence",
        "Share of generated data that a classifier puts in the class of what was given.",
        better="higher",
    ),
    about="generation",
    kinds="that generate",
    beside=("classifier_accuracy",),
)
def coherence(context: Context) -> Iterator[Row]:
    """Share of generated data that a classifier puts in the class of the data point, per subset and target.

    z is drawn from q(z | x_S), the decoder's mean is classified. Targets that were given are reported too, with the
    note ``reconstruction``: leave them out of averages over cross-modal coherence.

    Source: Shi et al. 2019, section 4.2.
    """
    known = context.labels >= 0
    generator_of(context)
    names = judged_names(context)
    for subset in context.each_subset("coherence"):
        rows = context.inferred(subset).rows
        if not bool(known[rows].any()):
            context.note(f"coherence: left out for {label(subset)}, which no data point with a known class has.")
            continue
        labels = context.labels[rows][known[rows]]
        found = readings(context, subset)
        for name in names:
            extra = {"note": "reconstruction"} if name in subset else {}
            right = found[name].predicted[known[rows]] == labels
            yield _share("coherence", right, subset, name, **extra)


@metric(
    Words(
        "joint_coherence",
        "Joint coherence",
        "Share of draws from the prior on which the classifiers of all modalities agree.",
        better="higher",
    ),
    about="generation",
    kinds="that generate, with a prior",
    beside=("classifier_accuracy",),
)
def joint_coherence(context: Context) -> Iterator[Row]:
    """Share of draws from the prior on which the classifiers of all modalities agree.

    Source: Shi et al. 2019, section 4.2.
    """
    generator_of(context)
    sampler_of(context)
    names = judged_names(context)
    if len(names) < 2:
        raise Unavailable("with fewer than two classifiers there is nothing to agree on")
    yield _share("joint_coherence", agreement(readings(context, None)), (), "")


@metric(
    Words(
        "one_to_many_agreement",
        "Agreement of all that was missing",
        "Share of draws at which the classifiers of all modalities that were not given agree.",
        better="higher",
    ),
    Words(
        "one_to_many_coherence",
        "One-to-many coherence",
        "Share of draws at which all modalities that were not given are of the class of what was given.",
        better="higher",
    ),
    about="generation",
    kinds="of three or more modalities, that generate",
    beside=("classifier_accuracy",),
)
def one_to_many_coherence(context: Context) -> Iterator[Row]:
    """Whether all that was missing agrees when it is decoded from one draw, per subset that lacks two modalities.

    z is drawn from q(z | x_S) once for each data point, and every modality outside of S is decoded from it and
    classified. ``coherence`` looks at each of them by itself: at 0.9 for each of four modalities, all of them may be
    right in 0.6 of the draws or in 0.9. Rows of ``one_to_many_coherence`` are left out without classes.

    Extras: ``targets``, how many modalities must agree.

    Source: the counterpart of joint coherence (Shi et al. 2019, section 4.2), given a subset; as a share of data points
    it is this library's.
    """
    generator_of(context)
    if len(context.model.names) < _FEWEST_MODALITIES:
        raise OtherKind(f"{type(context.model).__name__} has fewer than three modalities")
    names = judged_names(context)
    try:
        labels = context.labels
    except Unavailable as reason:
        context.note(f"one_to_many_coherence: agreement alone, since {reason}.")
        labels = None
    found_any = False
    for subset in context.each_subset("one-to-many coherence"):
        targets = [name for name in names if name not in subset]
        if len(targets) < 2:
            continue
        found_any = True
        found = readings(context, subset)
        agree = agreement({name: found[name] for name in targets})
        yield _share("one_to_many_agreement", agree, subset, "", targets=len(targets))
        if labels is None:
            continue
        truth = labels[context.inferred(subset).rows]
        if bool((truth >= 0).any()):
            right = (agree & (found[targets[0]].predicted == truth))[truth >= 0]
            yield _share("one_to_many_coherence", right, subset, "", targets=len(targets))
        else:
            context.note(f"one_to_many_coherence: left out for {label(subset)}, whose data points have no known class.")
    if not found_any:
        raise Unavailable("no subset lacks two modalities that have classifiers; ask for smaller subsets=")


@metric(
    Words(
        "classifier_accuracy", "Accuracy of the judges", "Of the classifiers on real data: the ceiling of coherence."
    ),
    about="generation",
    kinds="that generate",
)
def classifier_accuracy(context: Context) -> Iterator[Row]:
    """Accuracy of the classifiers on the evaluated data itself: the ceiling of coherence, and a check of the judge."""
    known = context.labels >= 0
    generator_of(context)
    for name in judged_names(context):
        rows = context.rows((name,)) if name in context.names else torch.empty(0, dtype=torch.int64)
        if bool(known[rows].any()):
            reading = real_readings(context, name)
            labels = context.labels[rows]
            if int(labels.max()) >= reading.num_classes:
                context.note(
                    f"classifier_accuracy: the classifier of {name} tells {reading.num_classes} classes apart, but the "
                    f"labels of the data go up to {int(labels.max())}; rows of the others count as wrong."
                )
            yield _share("classifier_accuracy", (reading.predicted == labels)[known[rows]], (), name)


def agreement(found: Mapping[str, Reading]) -> Bool[Tensor, "n"]:
    """Whether the classifiers of all these modalities name one class, for each of n draws."""
    predicted = torch.stack([reading.predicted for reading in found.values()])  # (M, n)
    return (predicted == predicted[0]).all(0)


def judged_names(context: Context) -> tuple[str, ...]:
    """The modalities that have a classifier; for the others there is a note.

    Raises:
        Unavailable: if none has.
    """
    if not context.classifiers:
        raise Unavailable(no_judges(context))
    if context.data.classes is not None and not context.classifiers_learned:
        raise Unavailable("the labels are names, and the classifiers know numbers alone; pass labels as those numbers")
    without = [name for name in context.model.names if name not in context.classifiers]
    if without:
        context.note(f"coherence: without {', '.join(without)}, for which there is no classifier.")
    return tuple(name for name in context.model.names if name in context.classifiers)


def _share(metric: str, hits: Tensor, subset: tuple[str, ...], target: str, **extras: float | str) -> Row:
    share = float(hits.double().mean())
    return make_row(metric, share, subset, target, stderr=share_error(share, len(hits)), n=len(hits), **extras)
