"""How many latents are decoded at a time, so that memory stays within what is free."""

from __future__ import annotations

import torch

from mmvae.free_memory import free_memory

_SHARE = 1 / 32
"""Of the free memory that the output of decoders may take; all that is computed takes several times that."""

_MOST = {"cpu": 2**23, "cuda": 2**26}
"""Numbers of output beyond which more at a time are no faster."""

_LEAST = 2**16
"""Numbers of output below which a chunk is not made smaller, however little is free."""


def latents_at_a_time(size: int, device: torch.device) -> int:
    """How many latents decoders are given together, at least one.

    Args:
        size: how many numbers the largest decoder gives for one latent.
        device: of the model.
    """
    most, free = _MOST.get(device.type, _MOST["cpu"]), free_memory(device)
    if free is not None:
        most = max(_LEAST, min(most, int(_SHARE * free) // 4))
    return max(1, most // size)
