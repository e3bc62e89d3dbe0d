"""Whether the latent of one modality finds, among those of another, the data of its class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from mmvae.choices import numbers_checked
from mmvae.evaluation.context import Context, Inferred
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, Unavailable, make_row, mean_and_error
from mmvae.words import Words

_KS, _EPISODE_KS = (1, 5, 10), (1, 3)
_EPISODES = 1000
_MOST_SIMILARITIES = 2**21
"""Held at a time, 16 MiB each of a few tables; changes no number."""

_DECIMALS = 10
"""Of similarities: those that rounding errors alone tell apart count as tied."""


@metric(
    Words("retrieval_r1", "Retrieval R@1", "Share of queries whose first item is of their class.", better="higher"),
    Words(
        "retrieval_r5",
        "Retrieval R@5",
        "Share of queries with an item of their class among the first 5.",
        better="higher",
    ),
    Words(
        "retrieval_r10",
        "Retrieval R@10",
        "Share of queries with an item of their class among the first 10.",
        better="higher",
    ),
    Words("retrieval_map", "Retrieval mAP", "Mean average precision over the whole gallery.", better="higher"),
    Words(
        "retrieval_episode_r1",
        "Retrieval R@1, one item of each class",
        "Share of queries whose first item is of their class.",
        better="higher",
    ),
    Words(
        "retrieval_episode_r3",
        "Retrieval R@3, one item of each class",
        "Share of queries with the item of their class among the first 3.",
        better="higher",
    ),
    about="pairs of modalities",
    costly="compares all data with all",
)
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


@numbers_checked
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


def expected_recall(similarity: Float[Tensor, "Q G"], positive: Bool[Tensor, "Q G"], k: int) -> Float64[Tensor, "Q"]:
    """The chance that some positive item is among the first k, where items of the same similarity are in random order.

    Let g items be above the best positive one and e items be tied with it, r of them positive. Then it is 0 if k <= g,
    and else 1 - C(e - r, k - g) / C(e, k - g).

    Args:
        similarity: of each query to each item; only exact equality is a tie.
        positive: which items are hits.
        k: how many of the first items count.

    Returns:
        A number between 0 and 1 for each query; NaN if it has no positive item.

    Raises:
        ValueError: if k is below 1.

    Example:
        >>> expected_recall(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[False, True, False]]), k=2).tolist()
        [0.5]
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}.")
    best = similarity.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
    above = (similarity > best).sum(1).double()  # g
    tied = similarity == best
    size, hits = tied.sum(1).double(), (tied & positive).sum(1).double()  # e, r
    left = (k - above).clamp(min=0).minimum(size)  # places of the tied items among the first k
    none = torch.exp(_log_choose(size - hits, left) - _log_choose(size, left))
    return torch.where(positive.any(1), 1 - none, torch.nan)


def expected_average_precision(similarity: Float[Tensor, "Q G"], positive: Bool[Tensor, "Q G"]) -> Float64[Tensor, "Q"]:
    """The mean of the average precision over all orders of items of the same similarity.

    Of e tied items, r of them positive, that stand below g others with p positive ones among these, each place
    j = 1 ... e holds a positive one with probability r / e, and then the precision there is in the mean
    (p + 1 + (j - 1) (r - 1) / (e - 1)) / (g + j).

    Args:
        similarity: of each query to each item; only exact equality is a tie.
        positive: which items are hits.

    Returns:
        A number between 0 and 1 for each query; NaN if it has no positive item.

    Source: McSherry and Najork 2008, "Computing information retrieval performance measures efficiently in the presence
    of tied scores".
    """
    ordered, order = similarity.sort(dim=1, descending=True)
    hits = positive.gather(1, order).double().cumsum(1)  # [Q, G], positive items down to each place
    places = torch.arange(similarity.shape[1], device=similarity.device).expand_as(order)
    edge = torch.ones_like(positive[:, :1])
    change = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(torch.cat([edge, change], 1), places, 0).cummax(1).values
    last = torch.where(torch.cat([change, edge], 1), places, places.shape[1])
    last = last.flip(1).cummin(1).values.flip(1)
    before = torch.where(first > 0, hits.gather(1, (first - 1).clamp(min=0)), 0.0)  # p
    inside = hits.gather(1, last) - before  # r
    size = (last - first + 1).double()  # e
    others = (places - first) * (inside - 1) / (size - 1).clamp(min=1)
    precision = (before + 1 + others) / (places + 1)
    return (inside / size * precision).sum(1) / hits[:, -1]


def _log_choose(n: Float64[Tensor, "Q"], k: Float64[Tensor, "Q"]) -> Float64[Tensor, "Q"]:
    """log C(n, k), minus infinity where k > n."""
    value = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma((n - k).clamp(min=0) + 1)
    return torch.where(k > n, -torch.inf, value)
