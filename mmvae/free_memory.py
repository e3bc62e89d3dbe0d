"""How much memory is free: on a GPU, on the machine, and below the limits of a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

_ROOT = Path("/")


class _Groups(NamedTuple):
    """Where a version of control groups keeps what it knows of memory."""

    folder: str
    limit: str
    usage: str
    reclaimable: str
    """The line of ``memory.stat`` with cached files that nobody has read of late: used, but given back on demand."""


_GROUPS = {  # by controller, as /proc/self/cgroup names it
    "": _Groups("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": _Groups("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a GPU, or that the system can give without swapping; ``None`` where it does not say.

    On Linux no more than the control groups of the process leave, by which containers and clusters limit it.
    """
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for its next use
        return torch.cuda.mem_get_info(device)[0] + held
    found = (_of_machine(), *_below_limits())
    return min((free for free in found if free is not None), default=None)


def _of_machine() -> int | None:
    available = _number(_ROOT / "proc/meminfo", "MemAvailable:")
    if available is not None:
        return available * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _below_limits() -> Iterator[int]:
    """What is left below each limit: of the group of this process, and of those that it is within.

    A container may see its own group as the root, whatever the path says; groups out of sight are passed over.
    """
    for line in _lines(_ROOT / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in _GROUPS.keys() & controllers.split(","):
            groups = _GROUPS[controller]
            own = PurePosixPath(path.lstrip("/"))
            for group in (own, *own.parents):
                folder = _ROOT / groups.folder / group
                limit, usage = _number(folder / groups.limit), _number(folder / groups.usage)
                if limit is not None and usage is not None:
                    yield max(0, limit - usage + (_number(folder / "memory.stat", groups.reclaimable) or 0))


def _number(file: Path, key: str = "") -> int | None:
    """The number of the line that begins with ``key``; ``None`` for no such file or line, and for ``max``, no limit."""
    numbers = (line.removeprefix(key).split()[0] for line in _lines(file) if line.startswith(key))
    return next((int(number) for number in numbers if number.isdecimal()), None)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


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
