"""What is measured of an arm: transfer between modalities, retrieval, generation, the codebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from generalization.tasks import Splits, Task
from torch import Tensor

import mmvae
from mmvae import Latents
from mmvae.evaluation import Evaluation, Labelled, LogisticHead, StepHead, Transfer, transfer_matrix
from mmvae.models import MultimodalModel

METRICS = ("retrieval", "codebook", "coherence", "canonical_correlation")

OTHER_HEADS: Mapping[str, tuple[Any, int | None]] = {
    "transfer_10_labels": (LogisticHead(strengths=(1.0,)), 10),  # no more labels than these choose its penalty
    "transfer_step_head": (StepHead(rates=(4e-3,), epochs=15), None),
}
"""Beside the logistic one with all labels, by metric: a head, and how many labels of each class it gets."""

Read = Callable[[Latents], Tensor]
"""From latents to features, ``[N, *T, D]``."""
Inferred = Mapping[str, Mapping[str, Latents]]
"""By part of the data, then by modality, the latents given this modality alone."""


def infer_all(model: MultimodalModel, splits: Splits) -> Inferred:
    """The latents of what heads need."""
    parts = {"heads": splits.heads, "validation": splits.validation, "test": splits.test}
    return {part: {name: mmvae.infer(model, batch, name) for name in batch.names} for part, batch in parts.items()}


def labelled(latents: Mapping[str, Latents], labels: Tensor, read: Read) -> dict[str, Labelled]:
    """Features with labels, by modality; padding is left out by its code."""
    found = {}
    for name, each in latents.items():
        there = None if each.codes is None or each.codes.ndim == 1 else each.codes >= 0
        found[name] = Labelled(read(each), labels, there)
    return found


def labelled_parts(inferred: Inferred, splits: Splits, read: Read) -> dict[str, dict[str, Labelled]]:
    """For heads, their validation and their test, features with labels by modality."""
    labels = {"heads": splits.heads.labels, "validation": splits.validation.labels, "test": splits.test.labels}
    return {part: labelled(inferred[part], of, read) for part, of in labels.items() if of is not None}


def mean(latents: Latents) -> Tensor:
    """The latents as they are."""
    return latents.mean


def transferred(
    inferred: Inferred, splits: Splits, read: Read, head: Any, seed: int, per_class: int | None = None
) -> Transfer:
    """Accuracy from every modality to every other, of a head that was chosen on its source alone."""
    return transfer_matrix(
        *labelled_parts(inferred, splits, read).values(), head, labels_per_class=per_class, seed=seed
    )


def judged(
    model: MultimodalModel, task: Task, splits: Splits, classifiers: Mapping[str, Any] | None, seed: int
) -> Evaluation:
    """Everything but TOC."""
    model.eval()
    evaluation = mmvae.evaluate(
        model, splits.test, METRICS, train=splits.heads, classifiers=classifiers or {}, seed=seed, progress=False
    )
    inferred = infer_all(model, splits)
    heads = {"transfer": (LogisticHead(), None), **OTHER_HEADS}
    for metric, (head, per_class) in heads.items():
        evaluation.rows.extend(renamed(metric, transferred(inferred, splits, mean, head, seed, per_class)))
    if task == "sequences":
        evaluation.rows.extend(renamed("transfer_steps", steps_transferred(model, splits, seed)))
    return evaluation


def renamed(metric: str, transfer: Transfer) -> list[dict[str, Any]]:
    """The rows of a transfer under another name."""
    return [{**row, "metric": row["metric"].replace("transfer", metric, 1)} for row in transfer.rows()]


def steps_transferred(model: MultimodalModel, splits: Splits, seed: int) -> Transfer:
    """The event of each step, read off the code of that step: between audio and video, which have it in common."""
    if hasattr(model, "code_mode"):
        model.code_mode = "split"
    parts = []
    for part, batch in (("heads", splits.heads), ("validation", splits.validation), ("test", splits.test)):
        found = {}
        for name in ("audio", "video"):
            latents = mmvae.infer(model, batch, name).mean
            if latents.ndim == 2:  # one latent for all steps
                latents = latents[:, None].expand(-1, splits.events[part].shape[1], -1)
            found[name] = Labelled(latents.flatten(0, 1), splits.events[part].flatten())
        parts.append(found)
    if hasattr(model, "code_mode"):
        model.code_mode = "pooled"
    return transfer_matrix(*parts, LogisticHead(), seed=seed)
