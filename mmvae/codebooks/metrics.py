"""How a codebook is used: by how many codes, by which modalities, and for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from mmvae.abilities import HasCodebook
from mmvae.codebooks.code_statistics import code_histogram, perplexity, sharing, usage
from mmvae.evaluation.context import Context
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import OtherKind, Row, Unavailable, make_row, mean_and_error
from mmvae.subsets import label
from mmvae.words import Words, modalities

__all__ = ["code_agreement", "code_divergence", "code_information", "code_purity", "codebook"]

_TRUSTED = 4
"""Data (or steps) for each code in use, from which on codes that say nothing about classes have little information."""


@metric(
    Words("codebook_usage", "Codes in use", "Share of the codebook that occurs."),
    Words("codebook_perplexity", "Perplexity of the codes", "How many codes are in use, if all were used equally."),
    Words(
        "codebook_owned_by_*",
        "Codes owned by {}",
        "Share of the codes in use that so many modalities use.",
        fill=modalities,
    ),
    Words(
        "codebook_agreement",
        "Agreement of codes",
        "Share of data with the same code from one modality and from the other.",
        better="higher",
    ),
    Words(
        "codebook_nmi", "Codes and classes (NMI)", "Normalised mutual information of code and class.", better="higher"
    ),
    Words(
        "codebook_purity", "Purity of codes", "Share of data in the most common class of their code.", better="higher"
    ),
    Words(
        "codebook_divergence",
        "Divergence of codes",
        "Jensen-Shannon divergence between the modalities' codes of the same class.",
        unit="nats",
        better="lower",
    ),
    about="codes",
    kinds="with a codebook",
)
def codebook(context: Context) -> Iterator[Row]:
    """How a model with a codebook uses it, each modality inferred from by itself.

    With a target, about this modality's codes; without one, about those of all modalities:

    - ``codebook_usage``, ``codebook_perplexity``: the share of the codes that occur; how many are in use, if all were
      used equally.
    - ``codebook_owned_by_1``, ``codebook_owned_by_2``, ...: of the codes in use, the shares that so many modalities own
      (see :func:`~mmvae.codebooks.code_statistics.owners`).
    - ``codebook_agreement``: the share of data points (of steps, in sequences) whose codes are the same given one
      modality and given the target; and, given all with no target, in all modalities, each by itself.
    - ``codebook_nmi``, ``codebook_purity``: the normalised mutual information of code and class, and the share of data
      (or steps) whose class is the most common one of their code. 0 to 1; with many codes and few data both are high.
    - ``codebook_divergence``: the Jensen-Shannon divergence, in nats, of the modalities' distributions over codes given
      the class, averaged over the classes that all have. 0 to the logarithm of the number of modalities.
    """
    some = next((subset for subset in context.subsets if len(context.rows(subset))), None)
    if some is None or context.inferred(some).codes is None:
        raise OtherKind(f"{type(context.model).__name__} has no codebook (its latents have no codes)")
    codes = {name: context.inferred((name,)).codes for name in context.alone(least=1)}
    known = {name: found for name, found in codes.items() if found is not None}
    if isinstance(context.model, HasCodebook):
        size = len(context.model.codebook)
    else:
        size = 1 + max(int(found.max()) for found in known.values())
        context.note("codebook_usage: of the codes up to the largest that occurs, since the model shows no codebook.")
    yield from _uses(known, size)
    yield from _agreements(context, known)
    try:
        labels = context.labels
    except Unavailable as reason:
        context.note(f"codebook: without classes, since {reason}.")
        return
    classes = {name: per_step(labels[context.inferred((name,)).rows], found) for name, found in known.items()}
    yield from _meanings(known, classes, size)


def code_information(codes: Int64[Tensor, "n"], classes: Int64[Tensor, "n"]) -> float:
    """The mutual information of codes and classes over the mean of their entropies, 0 to 1."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(classes.numpy(), codes.numpy()))


def code_purity(codes: Int64[Tensor, "n"], classes: Int64[Tensor, "n"]) -> float:
    """The share of data whose class is the most common one among the data of their code."""
    _, codes = codes.unique(return_inverse=True)
    kinds, classes = classes.unique(return_inverse=True)
    table = torch.bincount(codes * len(kinds) + classes, minlength=(int(codes.max()) + 1) * len(kinds))
    return float(table.reshape(-1, len(kinds)).amax(1).sum()) / len(codes)


def code_agreement(codes: Sequence[Int64[Tensor, "n *T"]]) -> Float64[Tensor, "n"]:
    """For each data point, the share of the steps there in all modalities at which all have the same code.

    Args:
        codes: of each modality, of one shape; -1 at steps that are not there.

    Returns:
        Numbers between 0 and 1; NaN for a data point without such a step.
    """
    stacked = torch.stack(list(codes)).reshape(len(codes), len(codes[0]), -1)  # [M, n, T]
    there = (stacked >= 0).all(0)
    same = there & (stacked == stacked[0]).all(0)
    return same.sum(1).double() / there.sum(1)


def code_divergence(
    codes: Mapping[str, Int64[Tensor, "*n"]], classes: Mapping[str, Int64[Tensor, "*n"]], num_codes: int
) -> float:
    """The Jensen-Shannon divergence, in nats, of the modalities' distributions over codes, averaged over classes.

    H(mean of p_m) - mean of H(p_m), where p_m is the distribution of modality m over codes given the class.

    Args:
        codes: by modality, whole numbers from 0 on.
        classes: of the same data.
        num_codes: L.

    Returns:
        A number between 0 and log M; NaN if no class occurs in every modality.
    """
    common = set.intersection(*(set(each.unique().tolist()) for each in classes.values()))
    values = []
    for kind in sorted(common):
        counts = torch.stack([code_histogram(codes[name][classes[name] == kind], num_codes) for name in codes]).double()
        shares = counts / counts.sum(1, keepdim=True)  # [M, L]
        values.append(_entropy(shares.mean(0)) - _entropy(shares).mean())
    return float(torch.stack(values).mean()) if values else float("nan")


def per_step(labels: Int64[Tensor, "n"], codes: Int64[Tensor, "n *T"]) -> Int64[Tensor, "n *T"]:
    """The label of a data point at each of its steps."""
    return labels.reshape(-1, *(1,) * (codes.ndim - 1)).expand_as(codes)


def _uses(codes: Mapping[str, Tensor], size: int) -> Iterator[Row]:
    histograms = {name: code_histogram(found, size) for name, found in codes.items()}
    together = torch.stack(list(histograms.values())).sum(0)
    parts = {**histograms, "": together} if len(histograms) > 1 else histograms
    for name, measure in (("codebook_usage", usage), ("codebook_perplexity", perplexity)):
        for target, histogram in parts.items():
            n = int(histogram.sum())
            yield make_row(name, float(measure(histogram)), target=target, n=n, num_codes=size)
    if len(histograms) > 1:
        for owners, share in enumerate(sharing(histograms).tolist(), 1):
            yield make_row(f"codebook_owned_by_{owners}", share, n=int((together > 0).sum()))


def _agreements(context: Context, codes: Mapping[str, Tensor]) -> Iterator[Row]:
    names = tuple(codes)
    groups = [*combinations(names, 2), *([names] if len(names) > 2 else [])]
    for group in groups:
        rows = context.rows(group)
        each = [codes[name][context.inferred((name,)).places(rows)] for name in group]
        if len({found.shape for found in each}) > 1:
            context.note(f"codebook_agreement: left out for {label(group)}, which have different numbers of steps.")
            continue
        same = code_agreement(each) if len(rows) else torch.empty(0)
        same = same[same.isfinite()]
        if not len(same):
            context.note(f"codebook_agreement: left out for {label(group)}, since no data point has all of it.")
            continue
        mean, error = mean_and_error(same)
        pairs = [((group[0],), group[1]), ((group[1],), group[0])] if len(group) == 2 else [(group, "")]
        for given, target in pairs:
            yield make_row("codebook_agreement", mean, given, target, stderr=error, n=len(same))


def _meanings(codes: Mapping[str, Tensor], classes: Mapping[str, Tensor], size: int) -> Iterator[Row]:
    there: dict[str, Bool[Tensor, "..."]] = {name: (codes[name] >= 0) & (classes[name] >= 0) for name in codes}
    codes = {name: found[there[name]] for name, found in codes.items() if bool(there[name].any())}
    classes = {name: classes[name][there[name]] for name in codes}
    if not codes:
        return
    together = (torch.cat(list(codes.values())), torch.cat(list(classes.values())))
    parts = {name: (codes[name], classes[name]) for name in codes} | ({"": together} if len(codes) > 1 else {})
    for name, measure in (("codebook_nmi", code_information), ("codebook_purity", code_purity)):
        for target, (found, kinds) in parts.items():
            many = len(found) < _TRUSTED * len(found.unique())
            note = f"fewer than {_TRUSTED} data for each code in use: high even if codes say nothing" if many else None
            yield make_row(name, measure(found, kinds), target=target, n=len(found), note=note)
    if len(codes) > 1:
        divergence = code_divergence(codes, classes, size)
        if divergence == divergence:
            yield make_row("codebook_divergence", divergence, n=len(together[0]))


def _entropy(shares: Float64[Tensor, "*M L"]) -> Float64[Tensor, "*M"]:
    return torch.special.entr(shares).sum(-1)
