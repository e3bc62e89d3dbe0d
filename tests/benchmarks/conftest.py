"""Makes the scripts of the benchmarks importable, as they are for one another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture
def threads_kept() -> Iterator[None]:
    """Gives back the number of threads, which a benchmark sets for the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
