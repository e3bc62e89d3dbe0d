"""What classifiers are trained for: cross-entropy, for one class per datum or for several labels."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmvae.choices import check_choice

Task = Literal["single-label", "multi-label"]
"""One class for each datum, or any number of labels."""


def checked_task(task: str, num_classes: int) -> None:
    """Raises a ``ValueError`` for an unknown task or a number of classes below one (or two, where one is chosen)."""
    check_choice("task", task, get_args(Task))
    least = 2 if task == "single-label" else 1
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < least:
        raise ValueError(f"num_classes: expected a whole number of at least {least} for {task}, got {num_classes!r}.")


def checked_labels(labels: Tensor | None, task: Task, num_classes: int) -> Tensor:
    """The labels of a batch in the type that the task needs.

    Their values are looked at on the CPU alone: on a GPU every step would wait for it.

    Args:
        labels: int64 ``[N]`` in [0, C) for one class each, 0 or 1 ``[N, C]`` for several labels.
        task: of the classifier.
        num_classes: C.

    Raises:
        ValueError: for no labels, a wrong shape, or values that are no classes.
        TypeError: for classes that are not whole numbers.
    """
    if labels is None:
        raise ValueError("labels: a classifier is trained on labels; pass fit(model, data, labels=...).")
    if task == "multi-label":
        if labels.ndim != 2 or labels.shape[1] != num_classes:
            raise ValueError(
                f"labels: expected 0 or 1, (N, {num_classes}), for several labels each; got shape "
                f"{tuple(labels.shape)}."
            )
        if labels.device.type == "cpu" and not bool(((labels == 0) | (labels == 1)).all()):
            raise ValueError("labels: expected 0 or 1 for each label, got other values.")
        return labels.to(torch.get_default_dtype())
    if labels.ndim != 1:
        raise ValueError(
            f"labels: expected one class each, (N,), got shape {tuple(labels.shape)}; for several labels each make the "
            f'model with task="multi-label".'
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels: expected classes as whole numbers, got {labels.dtype}; try labels.long().")
    if labels.device.type == "cpu" and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels: expected classes from 0 to {num_classes - 1}, got {int(labels.min())} to {int(labels.max())}."
        )
    return labels.long()


def task_loss(logits: Float[Tensor, "N C"], labels: Tensor, task: Task) -> Tensor:
    """Cross-entropy in nats, mean per datum; for several labels the binary one, mean over the labels too."""
    if task == "multi-label":
        return functional.binary_cross_entropy_with_logits(logits, labels)
    return functional.cross_entropy(logits, labels)


def share_right(logits: Float[Tensor, "N C"], labels: Tensor, task: Task) -> Tensor:
    """The share of data, or of their labels, that are predicted rightly; labels at a threshold of one half."""
    right = (logits > 0) == labels.bool() if task == "multi-label" else logits.argmax(-1) == labels
    return right.float().mean()
