"""Intervals around what is generated: of draws, and widened until they hold what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

DRAWS = 200
"""Draws behind an interval, where no number is asked for."""


_ROWS, _NUMBERS = 1024, 2**24
"""The most rows, and numbers of all draws, that are held at a time. Fixed, because others would change the draws."""


class WithIntervals(dict[str, Tensor]):
    """Values by modality, ``{name: [N, *shape]}``, and the ends of intervals around them.

    Attributes:
        lower: Lower ends, ``{name: [N, *shape]}``, or ``None`` if no intervals were asked for. Of codes, both ends are
            the code; so they are of numbers that were given.
        upper: Upper ends, likewise.
    """

    def __init__(
        self,
        values: Mapping[str, Tensor],
        lower: Mapping[str, Tensor] | None = None,
        upper: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(values)
        self.lower = None if lower is None else dict(lower)
        self.upper = None if upper is None else dict(upper)


def check_interval(interval: float | None) -> None:
    """Check that an interval, if there is one, is a share between 0 and 1.

    Raises:
        ValueError: For any other number.
    """
    if interval is not None and not 0 < interval < 1:
        raise ValueError(f"interval: expected a share between 0 and 1, such as 0.9, got {interval!r}.")


def rows_at_a_time(largest: int, draws: int = 1) -> int:
    """Number of rows that are held at a time, with all draws of each.

    Args:
        largest: How many numbers the largest modality has.
        draws: How many draws each row has.
    """
    return max(1, min(_ROWS, _NUMBERS // (draws * largest)))


def quantiles(
    distribution: Distribution, point: Tensor, is_ordered: Tensor | bool, interval: float
) -> tuple[Tensor, Tensor]:
    """Both ends of the central interval of a mixture over the first dimension, from a draw of each component.

    Of K draws and one value more, all alike, the i-th in order lies above the value with probability i / (K + 1): the
    ends are those that hold the value with the probability asked for.

    Args:
        distribution: Of batch shape ``[K, N]``.
        point: Values of what has no order, ``[N, *shape]``.
        is_ordered: Whether values have an order, as codes have not; one for all, or by column.
        interval: Share between the ends.
    """
    if isinstance(is_ordered, bool) and not is_ordered:
        return point, point
    values = distribution.sample().sort(0).values
    last = len(values) - 1
    ends = []
    for level in ((1 - interval) / 2, (1 + interval) / 2):
        place = min(max(level * (len(values) + 1) - 1, 0.0), float(last))
        below = int(place)
        end = torch.lerp(values[below], values[min(below + 1, last)], place - below)
        ends.append(end if isinstance(is_ordered, bool) else torch.where(is_ordered, end, point))
    return ends[0], ends[1]


def conformal_margin(
    name: str,
    data: Float[Tensor, "N *shape"],
    lower: Float[Tensor, "N *shape"],
    upper: Float[Tensor, "N *shape"],
    present: Bool[Tensor, "N *shape"],
    interval: float,
) -> Float[Tensor, "*shape"]:
    """By how much intervals must grow at each end (or shrink, below zero) to hold a share of new data.

    For each number of a row by itself, the ⌈(n + 1) · interval⌉-th smallest of max(lower - x, x - upper) over the n
    rows that have it. If new rows are exchangeable with these, grown intervals hold the number with a probability of
    at least the share, and at most 1 / (n + 1) above it where no two scores are equal, however good the model is.

    Args:
        name: Of the modality, for errors.
        data: Calibration data.
        lower: Lower ends of its intervals.
        upper: Upper ends.
        present: Where the data is there.
        interval: Share that is to be held.

    Raises:
        ValueError: For a number that too few rows have.

    Source: Romano, Patterson and Candès 2019, "Conformalized quantile regression", equations 6 to 8.
    """
    scores = torch.maximum(lower - data, data - upper).masked_fill(~present, -torch.inf).sort(0).values
    count = present.sum(0)
    place = torch.ceil((count + 1) * interval - 1e-9).long()
    if bool((place > count).any()):
        least = math.ceil(interval / (1 - interval) - 1e-9)
        raise ValueError(
            f"conformal, {name}: an interval of {interval:g} needs at least {least} rows of calibration data that have "
            f"the modality and the subset, got {int(count.min())}. Pass more rows, or a smaller interval."
        )
    return scores.gather(0, (len(scores) - count + place - 1).unsqueeze(0)).squeeze(0)
