"""What classifiers are trained for: cross-entropy, for one class per datum or for several labels."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmvae.choices import check_choice
from mmvae.labels import Classes
from mmvae.words import Words, declare_terms

declare_terms(
    Words("task", "Loss of the task", "Cross-entropy of classes or labels.", unit="nats per datum", better="lower"),
    Words("accuracy", "Accuracy", "Of classes, or of labels.", "share predicted rightly", better="higher"),
)


Task = Literal["single-label", "multi-label"]
"""One class for each datum, or any number of labels."""


def checked_task(task: str, num_classes: int) -> None:
    """Raises a ``ValueError`` for an unknown task or a number of classes below one (or two, where one is chosen)."""
    check_choice("task", task, get_args(Task))
    least = 2 if task == "single-label" else 1
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < least:
        raise ValueError(f"num_classes: expected a whole number of at least {least} for {task}, got {num_classes!r}.")


def checked_labels(labels: Tensor | None, task: Task, num_classes: int, classes: Classes | None = None) -> Tensor:
    """The labels of a batch in the type that the task needs, negative where they are not known.

    Their values are looked at on the CPU alone: on a GPU every step would wait for it.

    Args:
        labels: whole numbers ``[N]`` in [0, C) for one class each, 0 or 1 ``[N, C]`` for several labels; NaN and
            negative numbers are not known.
        task: of the classifier.
        num_classes: C.
        classes: names of the classes, where labels came as names; all C of them must occur, or their numbers would
            depend on the data.

    Raises:
        ValueError: for no labels, a wrong shape, or values that are no classes.
        TypeError: for classes that are not whole numbers.
    """
    if labels is None:
        raise ValueError("labels: a classifier is trained on labels; pass fit(model, data, labels=...).")
    if classes is not None and len(classes) != num_classes:
        raise ValueError(
            f"labels: {len(classes)} names of classes occur, but the model tells {num_classes} apart, and which number "
            f"is whose is not known; pass numbers from 0 to {num_classes - 1}."
        )
    on_cpu = labels.device.type == "cpu"
    if task == "multi-label":
        if labels.ndim != 2 or labels.shape[1] != num_classes:
            raise ValueError(
                f"labels: expected 0 or 1, (N, {num_classes}), for several labels each; got shape "
                f"{tuple(labels.shape)}."
            )
        if on_cpu and not bool(((labels == 0) | (labels == 1) | ~(labels >= 0)).all()):
            raise ValueError("labels: expected 0 or 1 for each label, got other values.")
        return labels.to(torch.get_default_dtype()).nan_to_num(-1.0)
    if labels.ndim != 1:
        raise ValueError(
            f"labels: expected one class each, (N,), got shape {tuple(labels.shape)}; for several labels each make the "
            f'model with task="multi-label".'
        )
    if labels.is_floating_point():
        whole = labels.nan_to_num(-1.0)
        if on_cpu and not bool((whole == whole.round()).all()):
            raise TypeError(f"labels: expected classes as whole numbers, got {labels.dtype} with fractions.")
        labels = whole
    if on_cpu and int(labels.max()) >= num_classes:
        raise ValueError(f"labels: expected classes from 0 to {num_classes - 1}, got {int(labels.max())}.")
    return labels.long()


def task_loss(logits: Float[Tensor, "N C"], labels: Tensor, task: Task) -> Tensor:
    """Cross-entropy in nats, mean over the known labels; of several labels each the binary one. 0 if none is known."""
    known = labels >= 0
    if task == "multi-label":
        losses = functional.binary_cross_entropy_with_logits(logits, labels.clamp_min(0), reduction="none")
    else:
        losses = functional.cross_entropy(logits, labels.clamp_min(0), reduction="none")
    return (losses * known).sum() / known.sum().clamp_min(1)


def share_right(logits: Float[Tensor, "N C"], labels: Tensor, task: Task) -> Tensor:
    """The share of the known labels that are predicted rightly; of several labels each at a threshold of one half."""
    known = labels >= 0
    right = (logits > 0) == (labels > 0) if task == "multi-label" else logits.argmax(-1) == labels
    return (right & known).sum().float() / known.sum().clamp_min(1)
