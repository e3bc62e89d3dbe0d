"""Fréchet distance between features of generated and of real data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from mmvae.evaluation.abilities import Samples
from mmvae.evaluation.context import Context
from mmvae.evaluation.generation import generated, generator_of, no_judges, readings, real, real_readings
from mmvae.evaluation.inception import Inception
from mmvae.evaluation.results import Row, make_row
from mmvae.subsets import label

_FEW = 2


def frechet(context: Context) -> Iterator[Row]:
    """Fréchet distances of generated to real data, per subset and target, and of prior samples (given nothing).

    Rows ``fid``, for images, if the Inception weights are given; and ``classifier_feature_fd``, by the penultimate
    layer of the classifiers, which is comparable with no published FID and only within one set of classifiers.
    Decoder means are compared with the real data of the target.

    Source: Heusel et al. 2017.
    """
    generator_of(context)
    sources: list[tuple[str, ...] | None] = [each for each in context.subsets if len(context.rows(each))]
    if isinstance(context.model, Samples):
        sources.insert(0, None)
    if context.inception_weights is not None:
        yield from _inception(context, sources)
    else:
        context.note("fid: left out, since there are no Inception weights; pass inception_weights=.")
    if context.classifiers:
        yield from _by_classifiers(context, sources)
    else:
        context.note(f"classifier_feature_fd: left out, since {no_judges(context)}.")


def frechet_distance(
    mean: Float[Tensor, "F"],
    covariance: Float[Tensor, "F F"],
    other_mean: Float[Tensor, "F"],
    other: Float[Tensor, "F F"],
) -> float:
    """|m - m'|² + tr(C + C' - 2 (C C')^½) between two Gaussians, the squared 2-Wasserstein distance.

    The trace of the root is that of the symmetric matrix C^½ C' C^½, which has the eigenvalues of C C'; covariances
    may be singular.

    Args:
        mean: m.
        covariance: C.
        other_mean: m'.
        other: C'.

    Source: Dowson and Landau 1982.
    """
    mean, covariance, other_mean, other = (each.double() for each in (mean, covariance, other_mean, other))
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    product = root @ other @ root
    trace_of_root = torch.linalg.eigvalsh((product + product.mT) / 2).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other.trace() - 2 * trace_of_root
    return max(float(distance), 0.0)


def feature_distance(features: Float[Tensor, "N F"], others: Float[Tensor, "K F"]) -> float:
    """The Fréchet distance of the Gaussians fitted to two sets of features, of two or more each."""
    return frechet_distance(*_moments(features), *_moments(others))


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.double()
    return features.mean(0), features.mT.cov().reshape(features.shape[1], features.shape[1])


def _by_classifiers(context: Context, sources: list[tuple[str, ...] | None]) -> Iterator[Row]:
    metric = "classifier_feature_fd"
    names = [name for name in context.names if name in context.classifiers and _has_moments(context, metric, name)]
    for subset in context.each("classifier-feature FD", sources):
        found = readings(context, subset)
        for name in names:
            features, truth = found[name].features, real_readings(context, name).features
            if features is None or truth is None:
                context.note(f"{metric}: left out for {name}, whose classifier has no features(x).")
            else:
                yield from _row(context, metric, features, truth, subset, name)


def _inception(context: Context, sources: list[tuple[str, ...] | None]) -> Iterator[Row]:
    assert context.inception_weights is not None
    images = [name for name in context.names if Inception.reads(context.data.data[name])]
    images = [name for name in images if _has_moments(context, "fid", name)]
    network = Inception(context.inception_weights).to(context.device)
    truth = {name: torch.cat([network(batch[name]) for batch in real(context, name)]) for name in images}
    for subset in context.each("FID", sources):
        found: dict[str, list[Tensor]] = {name: [] for name in images}
        for batch in generated(context, subset):
            for name in images:
                found[name].append(network(batch[name]))
        for name in images:
            yield from _row(context, "fid", torch.cat(found[name]), truth[name], subset, name)


def _has_moments(context: Context, metric: str, name: str) -> bool:
    """Whether there are enough real data of a modality for a covariance; if not, that is noted."""
    enough = len(context.rows((name,))) >= _FEW
    if not enough:
        context.note(f"{metric}: left out for {name}, which fewer than {_FEW} rows have.")
    return enough


def _row(
    context: Context, metric: str, features: Tensor, truth: Tensor, subset: tuple[str, ...] | None, target: str
) -> Iterator[Row]:
    if len(features) < _FEW:
        context.note(f"{metric}: left out for {target} from {label(subset or ())}, which fewer than {_FEW} rows have.")
        return
    few = min(len(features), len(truth)) <= features.shape[1]
    note = "fewer data than features: the covariance is singular" if few else None
    distance = feature_distance(features, truth)
    yield make_row(metric, distance, subset or (), target, n=len(features), n_real=len(truth), note=note)
