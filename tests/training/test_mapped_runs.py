"""Runs on arrays that stay in their files, shuffled in blocks."""

from __future__ import annotations

from functools import partial

import pytest
from training.interrupting import interrupt

from mmvae.data import Blocks, mapped, write_mapped
from mmvae.training import fit

quiet = partial(fit, progress=False, batch_size=8, device="cpu")  # five steps an epoch


def test_a_run_in_blocks_resumes_exactly_and_with_the_same_blocks(new_model, data, tmp_path, assert_same, timeless):
    write_mapped(tmp_path / "data", [data])
    files = mapped(tmp_path / "data", blocks=Blocks(4, 3))
    options = {"epochs": 2, "validation": 0.25}
    whole = quiet(new_model(), files, **options)
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupt(new_model(), 8), files, **options, out=tmp_path / "run")
    other = mapped(tmp_path / "data", blocks=Blocks(4, 2))
    with pytest.raises(ValueError, match=r"blocks\.together is 3 there and 2 here"):
        quiet(new_model(), other, **options, out=tmp_path / "run", resume=True)
    resumed = quiet(new_model(seed=9), files, **options, out=tmp_path / "run", resume=True)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)
