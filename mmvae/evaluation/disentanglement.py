"""Whether shared latents hold what modalities share, and private latents what a modality has for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from mmvae.evaluation.context import Context, Inferred
from mmvae.evaluation.linear_probe import fit_predict
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import OtherKind, Row, Unavailable, make_row, share_error
from mmvae.labels import Classes, as_labels, class_numbers, joined_classes, renumbered
from mmvae.words import Words

Private = dict[str, Int64[Tensor, "N"]]
"""Private classes by modality, -1 where unknown."""


@metric(
    Words(
        "shared_from_shared",
        "Shared label from shared latents",
        "Accuracy of a linear classifier of the shared label on the shared latents.",
        better="higher",
    ),
    Words(
        "private_from_shared",
        "Private label from shared latents",
        "Accuracy of a linear classifier of a modality's private label on the shared latents; chance is best.",
        better="lower",
    ),
    Words(
        "private_from_private",
        "Private label from private latents",
        "Accuracy of a linear classifier of a modality's private label on its private latents.",
        better="higher",
    ),
    Words(
        "shared_from_private",
        "Shared label from private latents",
        "Accuracy of a linear classifier of the shared label on a modality's private latents; chance is best.",
        better="lower",
    ),
    about="latent",
    kinds="with private latents, or any with private labels",
)
def disentanglement(context: Context) -> Iterator[Row]:
    """Accuracy of linear probes of the shared and of a private label on shared and on private latents, per modality.

    The latents are posterior means given the one modality. Each probe is a logistic regression on all training rows of
    the evaluation that have the modality and the label, with standardised latents. Rows are scored that have both.

    Extras: ``chance``, the share of the most frequent class among the scored rows.

    Source: the four numbers of Zhang, Shen and Wang 2026 (IDMVAE). The published code of Palumbo et al. 2023 probes the
    shared label on both parts. Departure: latents are standardised, so that their scale changes nothing.
    """
    names = context.alone(least=1)
    splits = [name for name in names if context.inferred((name,)).private(name) is not None]
    if not splits and not context.private_labels:
        raise OtherKind(f"{type(context.model).__name__} has no private latents, and there are no private labels")
    shared = _shared_labels(context)
    for name in names:
        pairs = {"shared": shared, "private": _private_labels(context, name)}
        if pairs["shared"] is None and pairs["private"] is None:
            continue
        test, train = context.inferred((name,)), context.inferred_train((name,))
        for part in ("shared", "private"):
            features, learnt = _part(test, part, name), _part(train, part, name)
            if features is None or learnt is None:
                continue
            for kind, labels in pairs.items():
                if labels is not None:
                    truth, classes = labels[0][test.rows], labels[1][train.rows]
                    yield from _probed(context, f"{kind}_from_{part}", name, (learnt, classes), (features, truth))


def private_classes(
    labels: Mapping[str, Any] | None,
    train_labels: Mapping[str, Any] | None,
    names: Sequence[str],
    size: int,
    train_size: int | None,
) -> tuple[Private, Private]:
    """Private labels of the evaluated and of the training data as classes, each modality in one numbering.

    Args:
        labels: ``{modality: classes [N]}``, numbers or names.
        train_labels: ``{modality: classes [T]}``.
        names: Modalities of the model.
        size: N.
        train_size: T; ``None`` without training data.

    Raises:
        ValueError: For an unknown modality, labels that are not one class for each row, labels of training data that is
            not there, or names in one of the two and numbers in the other.
    """
    if train_labels and train_size is None:
        raise ValueError("train_private_labels: there is no training data that they belong to; pass train=.")
    found = _classes("private_labels", labels or {}, names, size)
    learnt = _classes("train_private_labels", train_labels or {}, names, train_size or 0)
    for name in found.keys() & learnt.keys():
        (numbers, own), (train_numbers, others) = found[name], learnt[name]
        try:
            target = joined_classes([own, others])
        except ValueError as error:
            raise ValueError(f"private_labels of {name!r}: {error}") from error
        if target is not None:
            assert own is not None
            assert others is not None
            found[name] = renumbered(numbers, own, target), target
            learnt[name] = renumbered(train_numbers, others, target), target
    return {name: each for name, (each, _) in found.items()}, {name: each for name, (each, _) in learnt.items()}


def _classes(
    argument: str, labels: Mapping[str, Any], names: Sequence[str], size: int
) -> dict[str, tuple[Int64[Tensor, "N"], Classes | None]]:
    found = {}
    for name, values in labels.items():
        if name not in names:
            known = ", ".join(map(repr, names))
            raise ValueError(f"{argument}: {name!r} is not a modality of this model; choose among {known}.")
        tensor, classes = as_labels(values)
        numbers = class_numbers(tensor)
        if numbers is None or len(numbers) != size:
            raise ValueError(
                f"{argument} of {name!r}: expected a class for each of {size} rows, got labels of shape "
                f"{tuple(tensor.shape)}{'' if numbers is not None else ' that are not classes'}; pass whole numbers or "
                f"names, -1 or None where unknown."
            )
        found[name] = numbers, classes
    return found


def _shared_labels(context: Context) -> tuple[Tensor, Tensor] | None:
    """Shared classes of the evaluated and of the training data; ``None``, with a note, without them.

    Raises:
        Unavailable: If there are no private labels either, or there is no training data.
    """
    try:
        return context.labels, context.train_labels
    except Unavailable as reason:
        if context.train is None or not context.private_labels:
            raise
        context.note(f"disentanglement: without the shared label, since {reason}.")
        return None


def _private_labels(context: Context, name: str) -> tuple[Tensor, Tensor] | None:
    """Private classes of a modality in the evaluated and in the training data; ``None``, with a note, without them."""
    for argument, there in (
        ("private_labels", context.private_labels),
        ("train_private_labels", context.train_private_labels),
    ):
        if name not in there:
            context.note(f"disentanglement: without a private label of {name}; pass {argument}={{{name!r}: ...}}.")
            return None
    return context.private_labels[name], context.train_private_labels[name]


def _part(latents: Inferred, part: str, name: str) -> Float[Tensor, "n F"] | None:
    return latents.shared if part == "shared" else latents.private(name)


def _probed(
    context: Context, row: str, name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> Iterator[Row]:
    """The accuracy of one probe.

    Args:
        context: The evaluation.
        row: ``metric`` of the row.
        name: The modality.
        train: Latents ``[T, F]`` and classes ``[T]`` to fit on.
        test: Latents ``[n, F]`` and classes ``[n]`` to score.
    """
    (learnt, classes), (features, truth) = ((each[labels >= 0], labels[labels >= 0]) for each, labels in (train, test))
    if not len(truth) or len(classes.unique()) < 2:
        context.note(f"{row}: left out for {name}, which needs rows with a label to score and two classes to learn.")
        return
    predicted, note = fit_predict(learnt, classes, features, context.seed, standardised=True)
    accuracy, n = float((predicted == truth).double().mean()), len(truth)
    chance = float(truth.bincount().max() / n)
    error = share_error(accuracy, n)
    yield make_row(row, accuracy, (name,), name, stderr=error, n=n, n_train=len(classes), chance=chance, note=note)
