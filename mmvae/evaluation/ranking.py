"""Scores of rankings in which ties are the rule: means over all orders of what is tied."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor


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
