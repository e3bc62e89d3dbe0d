"""From one vector for each modality to the one that a head reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.choices import check_choice


class SlotFusion(nn.Module, ABC):
    """One vector made of M: ``M x [N, d_m] -> [N, size]``.

    Attributes:
        size: of the vector.
    """

    size: int

    @abstractmethod
    def forward(self, slots: Sequence[Float[Tensor, "N _"]]) -> Float[Tensor, "N size"]:
        """The fused vectors, from a slot of each modality, in the model's order."""


class SumSlots(SlotFusion):
    """The sum of the slots, which have one width."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.size = dims[0]

    def forward(self, slots: Sequence[Tensor]) -> Tensor:
        """``[N, d]``."""
        return torch.stack(tuple(slots)).sum(0)


class GatedSlots(SlotFusion):
    """A weighted mean of the slots, whose weights, learned of all of them, add up to one in each feature.

    For two modalities ``g z_1 + (1 - g) z_2`` with ``g = sigmoid(W [z_1; z_2] + b)``; for more the sigmoid becomes a
    softmax, in which the last modality has the logit zero.
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.size = dims[0]
        self.gate = nn.Linear(sum(dims), (len(dims) - 1) * self.size)

    def forward(self, slots: Sequence[Tensor]) -> Tensor:
        """``[N, d]``."""
        logits = self.gate(torch.cat(tuple(slots), -1)).unflatten(-1, (len(slots) - 1, self.size))  # [N, M - 1, d]
        weights = torch.cat([logits, torch.zeros_like(logits[:, :1])], 1).softmax(1)
        return (weights * torch.stack(tuple(slots), 1)).sum(1)


class ConcatSlots(SlotFusion):
    """The slots one behind the other."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.size = sum(dims)

    def forward(self, slots: Sequence[Tensor]) -> Tensor:
        """``[N, sum of d_m]``."""
        return torch.cat(tuple(slots), -1)


_FUSIONS: dict[str, type[SumSlots] | type[GatedSlots] | type[ConcatSlots]] = {
    "sum": SumSlots,
    "gated": GatedSlots,
    "concat": ConcatSlots,
}


def of_width(dim: int, width: int) -> nn.Module:
    """What brings vectors of one width to another: nothing where they have it, otherwise a linear map."""
    return nn.Identity() if dim == width else nn.Linear(dim, width)


def make_fusion(name: str, dims: Sequence[int], known: Sequence[str] = tuple(_FUSIONS)) -> SlotFusion:
    """A fusion by its name.

    Args:
        name: ``"sum"``, ``"gated"`` or ``"concat"``.
        dims: the width of each slot.
        known: the names that the caller offers.

    Raises:
        ValueError: for an unknown name.
    """
    check_choice("fusion", name, known)
    return _FUSIONS[name](dims)
