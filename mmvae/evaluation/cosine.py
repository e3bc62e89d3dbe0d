"""How alike the directions of a subset's posterior mean and of the joint one are."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mmvae.evaluation.context import Context
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, Unavailable, make_row, mean_and_error
from mmvae.subsets import label
from mmvae.words import Words


@metric(
    Words(
        "cosine",
        "Cosine",
        "Similarity of the posterior mean to that from all modalities of the same datum.",
        better="higher",
    ),
    Words("cosine_shuffled", "Cosine, shuffled", "The same between different data: what chance gives."),
    about="latent",
)
def cosine(context: Context) -> Iterator[Row]:
    """Mean cosine similarity of the posterior means given a subset and given all modalities.

    Rows ``cosine``, and ``cosine_shuffled`` beside it: the same between means of different data points, the floor above
    which the similarity says something. Over the data points that have every modality. Latents that are sequences are
    read step after step, as one long vector.
    """
    if len(context.joint) < 2:
        raise Unavailable("a single modality leaves nothing to compare")
    complete = context.rows(context.joint)
    if len(complete) < 2:
        raise Unavailable("fewer than two data points have every modality")
    everything = context.inferred(context.joint).flat
    generator = torch.Generator().manual_seed(context.derived_seed("shuffle"))
    order = torch.randperm(len(complete), generator=generator)
    for subset in context.each_subset("cosine similarity"):
        if subset == context.joint:
            continue
        partial = context.inferred(subset)
        means = partial.flat[partial.places(complete)]
        if means.shape != everything.shape:
            context.note(
                f"cosine: left out for {label(subset)}, whose latents have another shape than those given all."
            )
            continue
        for name, similarity in (
            ("cosine", torch.cosine_similarity(means, everything, dim=-1)),
            ("cosine_shuffled", torch.cosine_similarity(means[order], everything[order.roll(1)], dim=-1)),
        ):
            mean, error = mean_and_error(similarity)
            yield make_row(name, mean, subset, stderr=error, n=len(complete))
