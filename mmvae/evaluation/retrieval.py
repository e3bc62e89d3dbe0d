"""Whether the latent of one modality finds, among those of another, the data of its class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmvae.evaluation.context import Context
from mmvae.evaluation.inferred import Inferred
from mmvae.evaluation.ranking import expected_average_precision, expected_recall
from mmvae.evaluation.results import Row, Unavailable, make_row, mean_and_error

_KS, _EPISODE_KS = (1, 5, 10), (1, 3)
_EPISODES = 1000
_MOST_SIMILARITIES = 2**21
"""Held at a time, 16 MiB each of a few tables; changes no number."""

_DECIMALS = 10
"""Of similarities: those that rounding errors alone tell apart count as tied."""


def retrieval(context: Context) -> Iterator[Row]:
    """Retrieval by class across modalities: posterior means given one query those given another, by their cosine.

    The gallery is all data points that have the target; an item is a hit if it is of the query's class. Latents that
    are sequences are averaged over their steps. Items with the same similarity, which are the rule for latents from a
    codebook, count by the mean over all their orders.

    - ``retrieval_r1``, ``retrieval_r5``, ``retrieval_r10``: the share of queries with a hit among the first so many.
    - ``retrieval_map``: mean average precision over the whole gallery.
    - ``retrieval_episode_r1``, ``retrieval_episode_r3``: over 1000 small galleries, of one random item of each class,
      each with one random query.

    Extra: ``chance``, what a gallery in random order gives.
    """
    labels = context.labels
    if len(labels[labels >= 0].unique()) < 2:
        raise Unavailable("the data is of a single class, of which every answer is right")
    for source, target in context.each("retrieval", list(permutations(context.alone(), 2))):
        queries, asked = _of_known_class(context.inferred((source,)), labels)
        gallery, offered = _of_known_class(context.inferred((target,)), labels)
        if not bool(torch.isin(asked, offered).any()):
            context.note(f"retrieval: left out from {source} to {target}, which have no class in common.")
            continue
        seed = context.derived_seed("retrieval", source, target)
        found = retrieve(queries, asked, gallery, offered)
        found |= retrieve_in_episodes(queries, asked, gallery, offered, seed=seed)
        chance = _chance(asked, offered)
        for name, values in found.items():
            mean, error = mean_and_error(values[values.isfinite()])
            n = int(values.isfinite().sum())
            yield make_row(f"retrieval_{name}", mean, (source,), target, stderr=error, n=n, chance=chance.get(name))


def retrieve(
    queries: Float[Tensor, "Q D"],
    query_classes: Int64[Tensor, "Q"],
    gallery: Float[Tensor, "G D"],
    gallery_classes: Int64[Tensor, "G"],
    ks: Sequence[int] = _KS,
) -> dict[str, Float64[Tensor, "Q"]]:
    """How well each query finds the items of its class by their cosine, a block of queries at a time.

    Args:
        queries: a vector each.
        query_classes: of the queries.
        gallery: in which they search.
        gallery_classes: of the items.
        ks: how many of the first items to look at.

    Returns:
        ``"r1"`` and so on, by ``ks``: the expected recall; ``"map"``: the expected average precision. NaN for a query
        whose class no item has.
    """
    found: dict[str, list[Tensor]] = {}
    block = max(1, _MOST_SIMILARITIES // len(gallery))
    asked = torch.cat([queries.double(), query_classes.double()[:, None]], 1)
    asked, places = asked.unique(dim=0, return_inverse=True)  # data that share a code ask the same: once is enough
    for some, classes in zip(asked[:, :-1].split(block), asked[:, -1].long().split(block), strict=True):
        similarity, positive = cosines(some, gallery), classes[:, None] == gallery_classes
        for k in ks:
            found.setdefault(f"r{k}", []).append(expected_recall(similarity, positive, k))
        found.setdefault("map", []).append(expected_average_precision(similarity, positive))
    return {name: torch.cat(values)[places] for name, values in found.items()}


def retrieve_in_episodes(
    queries: Float[Tensor, "Q D"],
    query_classes: Int64[Tensor, "Q"],
    gallery: Float[Tensor, "G D"],
    gallery_classes: Int64[Tensor, "G"],
    ks: Sequence[int] = _EPISODE_KS,
    episodes: int = _EPISODES,
    seed: int = 0,
) -> dict[str, Float64[Tensor, "E"]]:
    """Retrieval from small galleries: one random item of each class that both sides have, and one random query.

    Args:
        queries: a vector each.
        query_classes: of the queries.
        gallery: of which the small galleries are drawn, with replacement from one to the next.
        gallery_classes: of the items.
        ks: how many of the first items to look at; those that reach the number of classes are left out.
        episodes: E.
        seed: of the draws.

    Returns:
        ``"episode_r1"`` and so on, by ``ks``: the expected recall of each episode.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = gallery_classes.unique()
    classes = classes[torch.isin(classes, query_classes)]
    can_ask = torch.isin(query_classes, classes).nonzero().flatten()
    if not len(can_ask):
        return {}
    asked = can_ask[torch.randint(len(can_ask), (episodes,), generator=generator)]
    offered = []
    for each in classes:
        items = (gallery_classes == each).nonzero().flatten()
        offered.append(items[torch.randint(len(items), (episodes,), generator=generator)])
    items = torch.stack(offered, 1)  # [E, C]
    similarity = (_directions(queries)[asked, None] * _directions(gallery)[items]).sum(-1).round(decimals=_DECIMALS)
    positive = query_classes[asked, None] == classes
    return {f"episode_r{k}": expected_recall(similarity, positive, k) for k in ks if k < len(classes)}


def cosines(queries: Float[Tensor, "Q D"], gallery: Float[Tensor, "G D"]) -> Float64[Tensor, "Q G"]:
    """The cosine of each query and each item, 0 where a vector is zero; rounded, so that ties are ties."""
    return (_directions(queries) @ _directions(gallery).mT).round(decimals=_DECIMALS)


def _of_known_class(latents: Inferred, labels: Int64[Tensor, "N"]) -> tuple[Float64[Tensor, "n D"], Int64[Tensor, "n"]]:
    """The vectors whose class is known, and their classes."""
    classes = labels[latents.rows]
    return latents.pooled[classes >= 0], classes[classes >= 0]


def _directions(vectors: Tensor) -> Float64[Tensor, "N D"]:
    return torch.nn.functional.normalize(vectors.double(), dim=-1)


def _chance(asked: Int64[Tensor, "Q"], offered: Int64[Tensor, "G"]) -> Mapping[str, float]:
    """What a gallery in random order gives, by the name of the score."""
    classes, counts = asked[torch.isin(asked, offered)].unique(return_counts=True)
    positive = classes[:, None] == offered
    tied = torch.zeros(positive.shape, dtype=torch.float64)
    scores = {f"r{k}": expected_recall(tied, positive, k) for k in _KS}
    scores["map"] = expected_average_precision(tied, positive)
    weights = counts.double() / counts.sum()
    episodes = {f"episode_r{k}": k / len(classes) for k in _EPISODE_KS}
    return {name: float(weights @ values) for name, values in scores.items()} | episodes
