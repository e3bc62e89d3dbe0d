"""Many draws scored some at a time, with the gradients of all at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmvae.batch import Batch
from mmvae.objectives.base import Objective

Scores = dict[str, Tensor]
"""By name, each with the axis along which the draws are cut."""


class ChunkedObjective(Objective):
    """An objective that can score the draws of a step some at a time.

    What a chunk keeps for its gradients is let go and computed once more in the backward pass. An objective couples
    all draws, but by their scores alone, which are few numbers; so gradients are those of the whole, for one more
    forward pass. Random numbers of the networks (dropout) are the same both times; a batch norm in training mode sees
    each chunk as a batch, and counts it twice.

    Args:
        chunk_size: latents at a time; ``None`` for all.

    Raises:
        ValueError: for a chunk below one.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
    """

    def __init__(self, chunk_size: int | None) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size: expected at least 1 latent at a time, or None for all; got {chunk_size}.")
        self.chunk_size = chunk_size

    def capture_obstacle(self, batch: Batch) -> str | None:
        """For the second pass of a chunk the random generators are put back, which no graph can do."""
        return None if self.chunk_size is None else "draws are scored in chunks, twice from the same random numbers"

    def _in_chunks(self, score: Callable[[slice], Scores], draws: Tensor, axis: int = 0) -> Scores:
        """The scores of all draws, of as many latents at a time as were asked for; at least one entry of the axis.

        Args:
            score: of some entries of the axis, each by itself.
            draws: latents, ``[*P, D]``.
            axis: of ``draws`` and of the scores, that is cut.
        """
        entries = draws.shape[axis]
        if self.chunk_size is None:
            return score(slice(entries))
        size = max(1, self.chunk_size // (draws[..., 0].numel() // entries))
        if size >= entries:
            return score(slice(entries))
        cuts = [slice(start, start + size) for start in range(0, entries, size)]
        parts = [checkpoint(score, some, use_reentrant=False) for some in cuts]
        return {name: torch.cat([part[name] for part in parts], axis) for name in parts[0]}
