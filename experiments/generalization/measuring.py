"""What is measured of an arm: transfer between modalities, retrieval, the codebook, and what TOC leaves of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from generalization.tasks import Splits, Task
from torch import Tensor

import mmvae
from mmvae import Latents
from mmvae.evaluation import Evaluation, Labelled, LogisticHead, StepHead, Transfer, make_row, transfer_matrix
from mmvae.models import MultimodalModel
from mmvae.nn import Kept

SHARES = (1.0, 0.875, 0.77, 0.66, 0.56, 0.5, 0.25, 0.125)
"""Of the dimensions, what TOC keeps."""
RANDOM_DRAWS = 5
METRICS = ("retrieval", "codebook", "coherence", "canonical_correlation")

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
    for metric, head, per_class in (
        ("transfer", LogisticHead(), None),
        ("transfer_10_labels", LogisticHead(strengths=(1.0,)), 10),  # no more labels than these choose its penalty
        ("transfer_step_head", StepHead(rates=(4e-3,), epochs=15), None),
    ):
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


# TOC.


def kept_dimensions(codebook: Tensor, share: float, seed: int) -> dict[str, Read]:
    """What keeps this share of the dimensions, by name: TOC's criteria and modes, and controls."""
    width = codebook.shape[1]
    keep = max(1, round(share * width))
    alive = int((codebook.var(0) >= 1e-8).sum())
    readers: dict[str, Read] = {}
    if keep <= alive:
        for criterion in ("both", "similarity", "variance"):
            readers[criterion] = mmvae.toc(codebook, keep=keep, criterion=criterion)  # type: ignore[arg-type]
        readers["both, requantised"] = mmvae.toc(codebook, keep=keep, mode="requantise")
        readers["lowest"] = mmvae.toc(codebook, keep=keep, lowest=1.0)
        for balance in (0.3, 0.5, 0.9) if share <= 0.5 else ():
            readers[f"both, balance {balance}"] = mmvae.toc(codebook, keep=keep, balance=balance)
    generator = torch.Generator().manual_seed(seed)
    for draw in range(RANDOM_DRAWS):
        dims = torch.randperm(width, generator=generator)[:keep]
        readers[f"random {draw}"] = Kept(dims, torch.zeros(width), "slice", codebook[:, dims])
    centre, basis = codebook.mean(0), torch.linalg.svd(codebook - codebook.mean(0), full_matrices=False).Vh[:keep]
    readers["principal components"] = lambda latents: (latents.mean - centre) @ basis.T
    return readers


def toc_measured(model: MultimodalModel, splits: Splits, seed: int) -> Evaluation:
    """Transfer at each number of kept dimensions, and what each source alone can see of it.

    Rows ``"toc"`` from each source to each other modality, on test data, and ``"toc_validation"`` of each source at
    home, on validation data; ``kept`` says what was read: ``"everything"``, or the way of choosing with the share,
    ``"both 0.5"``.
    """
    inferred = infer_all(model, splits)
    codebook = model.codebook.detach().cpu()
    readers: dict[str, Read] = {"everything": mean}
    for share in SHARES:
        readers |= {f"{name} {share:g}": read for name, read in kept_dimensions(codebook, share, seed).items()}
    head = LogisticHead(strengths=(1.0,))
    rows = []
    for name, read in readers.items():
        parts = labelled_parts(inferred, splits, read)
        own = {at_home(source): each for source, each in parts["validation"].items()}
        transfer = transfer_matrix(parts["heads"], parts["validation"], {**parts["test"], **own}, head, seed=seed)
        for (source, target), value in transfer.accuracy.items():
            if target == at_home(source):
                rows.append(make_row("toc_validation", value, (source,), kept=name))
            elif target in parts["test"] and target != source:
                rows.append(make_row("toc", value, (source,), target, kept=name))
    return Evaluation(rows)


def at_home(source: str) -> str:
    """What the validation data of a source are called beside the test data."""
    return f"{source}, validation"
