"""Many draws scored some at a time, with the gradients of all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from mmvae.free_memory import free_memory
from mmvae.objectives.base import Objective

ChunkSize = int | Literal["auto"] | None
"""Latents at a time: so many, what free memory allows, or all."""

Scores = dict[str, Tensor]
"""By name, each with the axis along which the draws are cut."""

_SHARE = 1 / 4
"""Of the free memory that a chunk may keep for its gradients, which take room themselves as they are computed."""


class ChunkedObjective(Objective):
    """An objective that can score the draws of a step some at a time.

    What a chunk keeps for its gradients is let go and computed once more in the backward pass. An objective couples
    all draws, but by their scores alone, which are few numbers; so gradients are those of the whole, for one more
    forward pass. Random numbers of the networks (dropout) are the same both times; a batch norm in training mode sees
    each chunk as a batch, and counts it twice.

    Args:
        chunk_size: latents at a time; ``"auto"`` for as many as free memory allows at each step, by what decoding a
            few was seen to keep; ``None`` for all.

    Raises:
        ValueError: for a chunk below one, or another word.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
    """

    def __init__(self, chunk_size: ChunkSize) -> None:
        if (isinstance(chunk_size, str) and chunk_size != "auto") or (isinstance(chunk_size, int) and chunk_size < 1):
            raise ValueError(
                f'chunk_size: expected at least 1 latent at a time, "auto" for what free memory allows, or None for '
                f"all; got {chunk_size!r}."
            )
        self.chunk_size = chunk_size
        self._kept: dict[tuple[str | int, ...], int] = {}

    def _in_chunks(self, score: Callable[[slice], Scores], draws: Tensor, axis: int = 0) -> Scores:
        """The scores of all draws, of as many latents at a time as were asked for; at least one entry of the axis.

        Args:
            score: of some entries of the axis, each by itself.
            draws: latents, ``[*P, D]``.
            axis: of ``draws`` and of the scores, that is cut.
        """
        entries, size = draws.shape[axis], self._entries_at_a_time(score, draws, axis)
        if size >= entries:
            return score(slice(entries))
        cuts = [slice(start, start + size) for start in range(0, entries, size)]
        parts = [checkpoint(score, some, use_reentrant=False) for some in cuts]
        return {name: torch.cat([part[name] for part in parts], axis) for name in parts[0]}

    def _entries_at_a_time(self, score: Callable[[slice], Scores], draws: Tensor, axis: int) -> int:
        entries = draws.shape[axis]
        if self.chunk_size is None:
            return entries
        if self.chunk_size != "auto":
            return max(1, self.chunk_size // (draws[..., 0].numel() // entries))
        free = free_memory(draws.device)
        if free is None or entries == 1:
            return entries
        work = (score.__qualname__, *draws.shape[:axis], *draws.shape[axis + 1 :])
        if work not in self._kept:
            with torch.random.fork_rng([draws.device] if draws.device.type == "cuda" else []):
                self._kept[work] = kept_by_an_entry(score)
        return max(1, int(_SHARE * free) // self._kept[work])


def kept_by_an_entry(score: Callable[[slice], Scores]) -> int:
    """Bytes that scoring a further entry keeps for its gradients, at least one."""
    return max(1, _kept_by(score, 2) - _kept_by(score, 1))


def _kept_by(score: Callable[[slice], Scores], entries: int) -> int:
    """Bytes that the scores of the first entries keep: of every memory once, however many tensors lie in it."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor):
        scores = score(slice(entries))  # alive until all is counted, so that no address is seen twice
    return sum(kept.values()) if scores else 0
