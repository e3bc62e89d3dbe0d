"""The random generators of the process: seeded for a while, and given back as they were."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_state() -> dict[str, Any]:
    """The states of the generators of torch (the CPU and, where there is one, the current GPU), Python and numpy."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 (networks of users may draw from it)
    state = {
        "torch": torch.get_rng_state(),
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "kind": kind,
            "keys": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Puts the generators into the states that :func:`random_state` gave; a GPU that is no longer there is left out."""
    torch.set_rng_state(state["torch"])
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002
        (numpy["kind"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"])
    )
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextlib.contextmanager
def randomness_kept() -> Iterator[None]:
    """Gives the generators back, afterwards, in the states in which they were."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def seed_generators(seed: int) -> None:
    """Seeds the generators of torch (of every device), Python and numpy."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


class Generators:
    """A state of the generators by itself, for a part of the program whose draws shall not depend on those of others.

    Args:
        seed: of the state.
    """

    def __init__(self, seed: int) -> None:
        with randomness_kept():
            seed_generators(seed)
            self._state = random_state()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Puts this state in the place of that of the process, for a while, and goes on from it the next time."""
        with randomness_kept():
            set_random_state(self._state)
            try:
                yield
            finally:
                self._state = random_state()


def permutation(size: int, seed: int) -> Tensor:
    """The numbers below ``size`` in a random order, int64; the global generators are not touched."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def block_permutation(size: int, rows: int, together: int, seed: int) -> Tensor:
    """The numbers below ``size`` in an order that is random and yet reads them in blocks, int64.

    Blocks of ``rows`` neighbours, which begin elsewhere for each seed, come in a random order; the numbers of each
    ``together`` blocks in it are mixed. The global generators are not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    begin = int(torch.randint(min(rows, size), (), generator=generator))
    block = (torch.arange(size) + begin) // rows
    turn = torch.randperm(int(block[-1]) + 1, generator=generator)
    mixed = torch.randperm(size, generator=generator)
    return mixed[(turn[block[mixed]] // together).argsort(stable=True)]
