"""How many latents are decoded at a time, so that memory stays within what is free."""

from __future__ import annotations

import os

import torch

_SHARE = 1 / 32
"""Of the free memory that the output of decoders may take; all that is computed takes several times that."""

_MOST = {"cpu": 2**23, "cuda": 2**26}
"""Numbers of output beyond which more at a time are no faster."""

_LEAST = 2**16
"""Numbers of output below which a chunk is not made smaller, however little is free."""


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a GPU, or that the system can give without swapping; ``None`` where it does not say.

    Limits of a container are not looked at.
    """
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for its next use
        return torch.cuda.mem_get_info(device)[0] + held
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


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
