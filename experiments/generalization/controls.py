"""What quantisation costs and what TOC does beyond one head: controls of the codebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

import torch
from generalization.keeping import best_shares, how_many, kept_dimensions
from generalization.measuring import (
    OTHER_HEADS,
    Inferred,
    Read,
    infer_all,
    labelled,
    labelled_parts,
    mean,
    renamed,
    transferred,
)
from generalization.tasks import Splits
from torch import Tensor
from torch.nn import functional

import mmvae
from mmvae import Latents
from mmvae.evaluation import Evaluation, LogisticHead, Row, make_row, pooled, retrieve, transfer_matrix
from mmvae.models import MultimodalModel
from mmvae.nn import Kept

HALF = 0.5
"""The share of dimensions at which ways of choosing them are compared in retrieval."""


def controls_measured(model: MultimodalModel, splits: Splits, toc: Evaluation, seed: int) -> Evaluation:
    """Heads that read something else than the quantised vectors, retrieval by it, and other heads behind TOC.

    Args:
        model: with a codebook.
        splits: its data.
        toc: what was measured of TOC, by which each source chooses its share of dimensions at home.
        seed: of heads and random dimensions.
    """
    inferred = infer_all(model, splits)
    codebook = model.codebook.detach().cpu()
    shares = best_shares(toc)
    chosen = {name: toc_of(codebook, share) for name, share in shares.items()}
    rows: list[Row] = []
    for metric, read in (("transfer_continuous", continuous), ("transfer_indices", indices(len(codebook)))):
        rows.extend(renamed(metric, transferred(inferred, splits, read, LogisticHead(), seed)))
    rows.extend(other_heads(inferred, splits, chosen, seed))
    at_half = kept_dimensions(codebook, HALF, seed)
    everything: dict[str, Read | Mapping[str, Read]] = {
        "everything": mean,
        "continuous": continuous,
        "both, chosen": chosen,
        **{name: at_half[name] for name in ("both", "variance", "random 0") if name in at_half},
    }
    for name, read in everything.items():
        reads = read if isinstance(read, Mapping) else dict.fromkeys(splits.test.names, read)
        rows.extend(retrieved(inferred["test"], splits.test.labels, reads, name))
    return Evaluation(rows)


def continuous(latents: Latents) -> Tensor:
    """The vectors before quantisation."""
    return latents.diagnostics["features"]


def indices(num_codes: int) -> Read:
    """Which code it is and nothing of where it lies, as indicators; zeros at steps that are not there."""

    def read(latents: Latents) -> Tensor:
        assert latents.codes is not None  # of a model with a codebook
        return functional.one_hot(latents.codes + 1, num_codes + 1)[..., 1:].float()

    return read


def toc_of(codebook: Tensor, share: float) -> Kept:
    """TOC with this share of the dimensions."""
    return mmvae.toc(codebook, keep=how_many(codebook, share))


def other_heads(inferred: Inferred, splits: Splits, chosen: Mapping[str, Kept], seed: int) -> Iterator[Row]:
    """Heads of few labels, and of steps, that read the dimensions which their source chose with the logistic one."""
    for source, read in chosen.items():
        parts = labelled_parts(inferred, splits, read)
        train, validation = ({source: parts[part][source]} for part in ("heads", "validation"))
        for metric, (head, per_class) in OTHER_HEADS.items():
            found = transfer_matrix(train, validation, parts["test"], head, labels_per_class=per_class, seed=seed)
            for (_, target), value in found.accuracy.items():
                if target != source:
                    yield make_row(metric, value, (source,), target, kept="both, chosen")


def retrieved(
    test: Mapping[str, Latents], labels: Tensor | None, reads: Mapping[str, Read], kept: str
) -> Iterator[Row]:
    """Retrieval of the class from each modality to each other by what its source reads of both."""
    assert labels is not None  # of digits and of events alike
    for source, target in permutations(test, 2):
        vectors = {name: pooled(each) for name, each in labelled(test, labels, reads[source]).items()}
        found = retrieve(vectors[source], labels, vectors[target], labels)
        for name in ("r1", "map"):
            values = found[name][torch.isfinite(found[name])]
            yield make_row(f"retrieval_{name}", float(values.mean()), (source,), target, kept=kept)
