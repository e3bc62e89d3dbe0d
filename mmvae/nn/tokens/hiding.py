"""Which tokens of each datum are hidden, and which show."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor, nn

from mmvae.nn.orders import in_random_order


@dataclass(frozen=True, eq=False)
class Places:
    """Some of the tokens of each datum: k of them, whatever is drawn and whatever is missing.

    Attributes:
        index: where they are.
        valid: which of them count; ``None`` for all.
    """

    index: Int64[Tensor, "N k"]
    valid: Bool[Tensor, "N k"] | None = None

    def of(self, values: Shaped[Tensor, "N n *d"]) -> Shaped[Tensor, "N k *d"]:
        """What stands there."""
        return values.take_along_dim(self.index.reshape(*self.index.shape, *(1,) * (values.ndim - 2)), 1)

    @property
    def behind_class_token(self) -> Bool[Tensor, "N S"] | None:
        """Which tokens count where the class token, which always does, comes first, ``[N, 1 + k]``."""
        return None if self.valid is None else nn.functional.pad(self.valid, (1, 0), value=True)


def hide(tokens: Shaped[Tensor, "N n *d"], valid: Bool[Tensor, "N n"] | None, ratio: float) -> tuple[Places, Places]:
    """A random choice of the valid tokens of each row, this share of them, rounded, but one at least; and the others.

    Args:
        tokens: of which no value is looked at.
        valid: which of them there are; ``None`` for all.
        ratio: the share.

    Returns:
        The places that are hidden, and those that show: as many as in a row of which all tokens are valid, which has
        the most of both.
    """
    length = tokens.shape[1]
    most = max(1, round(ratio * length))
    if valid is None:
        order = in_random_order(torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
        return Places(order[:, :most]), Places(order[:, most:])
    order, counts = in_random_order(valid), valid.sum(1, keepdim=True)
    wanted = (ratio * counts.double()).round().long().clamp_min(1).minimum(counts)
    return _between(order, torch.zeros_like(wanted), wanted, most), _between(order, wanted, counts, length - most)


def _between(order: Tensor, start: Tensor, stop: Tensor, most: int) -> Places:
    """Of the order of the tokens of each row those from start to stop, ``[N, 1]`` each."""
    position = start + torch.arange(most, device=order.device)
    return Places(order.gather(1, position.clamp_max(order.shape[1] - 1)), position < stop)
