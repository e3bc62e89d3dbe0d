"""Reports of experiments, without the minutes that their pictures of refinement take."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmvae.plotting import refinement_pictures
from mmvae.refinement import HMC


@pytest.fixture(scope="module", autouse=True)
def _few_steps_of_refinement() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refinement_pictures, "_FEW_DRAWS", HMC(4, warmup=2, max_tree_depth=2))
        patch.setattr(refinement_pictures, "_TRACED", 4)
        patch.setattr(refinement_pictures, "_ASCENT", 2)
        yield
