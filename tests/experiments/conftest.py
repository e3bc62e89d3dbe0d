"""Scripts of experiments as modules, and their reports without the minutes that pictures of refinement take."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mmvae.plotting.reports import refinement_pictures
from mmvae.refinement import HMC

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def script() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script by its name, as Python does that runs one of them: from their folder."""
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(EXPERIMENTS))


@pytest.fixture(scope="module", autouse=True)
def _few_steps_of_refinement() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refinement_pictures, "_FEW_DRAWS", HMC(4, warmup=2, max_tree_depth=2))
        patch.setattr(refinement_pictures, "_TRACED", 4)
        patch.setattr(refinement_pictures, "_ASCENT", 2)
        yield
