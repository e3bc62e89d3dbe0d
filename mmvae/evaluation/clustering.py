"""How well clusters of the latents are the classes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mmvae.abilities import HasPrior
from mmvae.evaluation.context import Context
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, make_row, share_error
from mmvae.priors import GaussianMixture
from mmvae.priors.base import WithPrivate
from mmvae.subsets import label
from mmvae.words import Words

_STARTS = 10
"""Of k-means, of which the one with the smallest squared distances counts."""

_DRAWS = 16


@metric(
    Words(
        "clustering_nmi",
        "k-means and classes (NMI)",
        "Normalised mutual information of k-means clusters of the shared latents and the classes.",
        better="higher",
    ),
    Words(
        "clustering_ari",
        "k-means and classes (ARI)",
        "Adjusted Rand index of k-means clusters of the shared latents and the classes; 0 is chance.",
        better="higher",
    ),
    Words(
        "clustering_accuracy",
        "k-means and classes (accuracy)",
        "Share of the data in the class that its k-means cluster stands for.",
        better="higher",
    ),
    Words(
        "component_nmi",
        "Prior components and classes (NMI)",
        "Normalised mutual information of the prior's components and the classes.",
        better="higher",
    ),
    Words(
        "component_ari",
        "Prior components and classes (ARI)",
        "Adjusted Rand index of the prior's components and the classes; 0 is chance.",
        better="higher",
    ),
    Words(
        "component_accuracy",
        "Prior components and classes (accuracy)",
        "Share of the data in the class that its component of the prior stands for.",
        better="higher",
    ),
    about="latent",
)
def clustering(context: Context) -> Iterator[Row]:
    """NMI, ARI and accuracy of clusters of the shared latents against the classes, per subset.

    - ``clustering_*``: k-means on the posterior means, with as many clusters as classes occur, the best of ten starts.
      Columns of the latents are taken as they are: scaling them would give columns that hold nothing the weight of
      those that hold the classes.
    - ``component_*``: where the prior of the shared latents is a mixture of Gaussians, such as that of ``CMVAE``, the
      component c with the largest p(c | x_S), averaged over 16 draws of the posterior.

    Clusters are found among the rows with a known class; no label is used for it.

    Extras: ``clusters``, how many there are; of a prior, components with a weight above zero.

    Source: NMI with the arithmetic mean of the entropies; ARI of Hubert and Arabie 1985, "Comparing partitions";
    accuracy of Xie et al. 2016, "Unsupervised deep embedding for clustering analysis".
    """
    labels = context.labels
    for subset in context.each_subset("clustering"):
        latents = context.inferred(subset)
        known = labels[latents.rows] >= 0
        truth = labels[latents.rows][known]
        num_classes = len(truth.unique())
        if num_classes < 2:
            context.note(f"clustering: left out for {label(subset)}, whose data points are not of two known classes.")
            continue
        yield from _rows("clustering", _k_means(latents.shared[known], num_classes, context.seed), truth, subset)
        mixture = _mixture(context.model)
        if mixture is not None:
            found = _components(context, mixture, subset, latents.rows[known])
            used = int((mixture.logits.softmax(0) > 0).sum())
            yield from _rows("component", found, truth, subset, used)


def _rows(
    name: str,
    clusters: Int64[Tensor, "n"],
    truth: Int64[Tensor, "n"],
    subset: tuple[str, ...],
    count: int | None = None,
) -> Iterator[Row]:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    extras: dict[str, Any] = {"n": len(truth), "clusters": len(clusters.unique()) if count is None else count}
    pair = truth.numpy(), clusters.numpy()
    yield make_row(f"{name}_nmi", normalized_mutual_info_score(*pair), subset, **extras)
    yield make_row(f"{name}_ari", adjusted_rand_score(*pair), subset, **extras)
    accuracy = matched_accuracy(clusters, truth)
    yield make_row(f"{name}_accuracy", accuracy, subset, stderr=share_error(accuracy, len(truth)), **extras)


def matched_accuracy(clusters: Int64[Tensor, "n"], classes: Int64[Tensor, "n"]) -> float:
    """The share of rows in the class of their cluster, at the pairing that makes it largest.

    Each class is paired with one cluster at most, and each cluster with one class. Rows of clusters that are left over
    count as wrong.
    """
    from scipy.optimize import linear_sum_assignment

    _, first = clusters.unique(return_inverse=True)
    _, second = classes.unique(return_inverse=True)
    counts = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=torch.int64)
    counts.index_put_((first, second), torch.ones_like(first), accumulate=True)
    paired = linear_sum_assignment(counts.numpy(), maximize=True)
    return float(counts[paired].sum() / len(classes))


def _k_means(points: Float[Tensor, "n D"], num_clusters: int, seed: int) -> Int64[Tensor, "n"]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters; the row says it
        found = KMeans(num_clusters, n_init=_STARTS, random_state=seed).fit(points.double().numpy())
    return torch.as_tensor(found.labels_, dtype=torch.int64)


def _mixture(model: Any) -> GaussianMixture | None:
    """The prior of the shared latents, if it is a mixture of Gaussians."""
    prior = model.prior if isinstance(model, HasPrior) else None
    shared = prior.shared if isinstance(prior, WithPrivate) else prior
    return shared if isinstance(shared, GaussianMixture) else None


def _components(
    context: Context, mixture: GaussianMixture, subset: tuple[str, ...], rows: Int64[Tensor, "n"]
) -> Int64[Tensor, "n"]:
    """The most probable component of each row."""
    found = []
    for _, latents in context.latents(subset, rows, "components"):
        found.append(mixture.responsibilities(latents.shared.sample(_DRAWS)).mean(0).argmax(1).cpu())
    return torch.cat(found)
