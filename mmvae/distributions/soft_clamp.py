"""Bounds that a network's output cannot leave, and on which its gradient never vanishes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_MARGIN = 0.1


def soft_clamp(x: Float[Tensor, "*S"], low: float, high: float) -> Float[Tensor, "*S"]:
    """``x`` itself from ``low`` to ``high``; outside, a smooth curve that stays within a tenth of the range beyond.

    A hard clamp has no gradient outside, so whatever has left the range once stays there for ever. Above the range the
    value is high + w arctan(t) with t = (x - high) / w and w = (high - low) / 5π. Its slope 1 / (1 + t²) is continuous
    at the bound, and above zero wherever float32 can say so (up to t of about 1e18).

    Args:
        x: of any shape; infinities are allowed.
        low: lower end of the range in which nothing changes.
        high: upper end, above ``low``.
    """
    width = _MARGIN * (high - low) * 2 / math.pi
    inside = x.clamp(low, high)
    beyond = x - inside  # of slope 0 within the range, where the clamp has slope 1, and the other way round outside
    return torch.add(inside, (beyond / width).atan(), alpha=width)
