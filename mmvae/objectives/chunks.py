"""Many draws scored some at a time, with the gradients of all at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Scores = dict[str, Tensor]
"""By name, each of as many entries as there are draws."""


def in_chunks(score: Callable[[Tensor], Scores], draws: Tensor, size: int) -> Scores:
    """``score(draws)``, computed for ``size`` entries of the first axis at a time.

    What a chunk keeps for its gradients is let go and computed once more in the backward pass. Importance weights
    couple all draws, but by their scores alone, which are few numbers; so gradients are those of the whole, for one
    more forward pass. Random numbers of the networks (dropout) are the same both times; a batch norm in training
    mode sees each chunk as a batch, and counts it twice.

    Args:
        score: of some draws, each by itself.
        draws: with the draws on the first axis.
        size: of a chunk.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
    """
    if size >= len(draws):
        return score(draws)
    parts = [checkpoint(score, part, use_reentrant=False) for part in draws.split(size)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
