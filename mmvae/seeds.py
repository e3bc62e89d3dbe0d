"""Seeds of independent random streams, each named, so that what one draws never depends on what another drew.

Every part of the library that needs a seed of its own derives it here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator

import torch


def derive_seed(seed: int, *name: str | int) -> int:
    """A seed in [0, 2^63) for the stream of this name; other names, and other seeds, give unrelated streams.

    Because every modality draws from a stream of its own name, neither the order of the modalities nor the presence
    of another one changes its draws.
    """
    digest = hashlib.sha256(json.dumps([int(seed), *name]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, *name: str | int) -> torch.Generator:
    """A generator on the CPU, seeded by :func:`derive_seed`; the global generator is neither read nor written."""
    return torch.Generator().manual_seed(derive_seed(seed, *name))


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of the CPU and of a device for a while; afterwards they are as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
