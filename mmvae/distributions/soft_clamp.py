"""Bounds that a network's output cannot leave, and on which its gradient never vanishes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_MARGIN = 0.1


def soft_clamp(x: Float[Tensor, "*S"], low: float, high: float) -> Float[Tensor, "*S"]:
    """``x`` itself from ``low`` to ``high``; outside, a smooth curve that stays within a tenth of the range beyond.

    A hard clamp has no gradient outside, so whatever has left the range once stays there for ever. With w a tenth of
    ``high - low`` and t = (x - high) / w, the value above the range is high + w t / (1 + t), of slope 1 / (1 + t)²:
    continuous at the bound, and above zero wherever float32 can say so (up to t of about 1e18).

    Args:
        x: of any shape; infinities are allowed.
        low: lower end of the range in which nothing changes.
        high: upper end, above ``low``.
    """
    margin = _MARGIN * (high - low)
    inside = x.clamp(low, high)
    beyond = x - inside  # of slope 0 within the range, where the clamp has slope 1, and the other way round outside
    width = torch.where(beyond.detach() < 0, -margin, margin)  # so that t is not negative
    # 1 - 1 / (1 + t) rather than t / (1 + t): its gradient has no difference of nearly equal numbers.
    return torch.addcmul(inside, width, 1 - (1 + beyond / width).reciprocal())
