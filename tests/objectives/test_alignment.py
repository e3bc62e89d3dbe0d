from __future__ import annotations

import pytest
import torch
from objectives.parts import make


def test_missing_modalities_are_named() -> None:
    model, data = make("JMVAE", trunk_width=4, hidden=8)
    observed = {"bits": torch.tensor([True] * 5 + [False])}
    with pytest.raises(ValueError, match=r"JMVAE cannot train on incomplete data.*'bits'"):
        model.loss(data, observed)
    with pytest.raises(ValueError, match="'real', 'bits'"):
        model.loss({"codes": data["codes"]})


def test_masks_that_hide_nothing_are_welcome() -> None:
    model, data = make("JMVAE", trunk_width=4, hidden=8)
    assert model.loss(data, {"bits": torch.ones(6, dtype=torch.bool)}).total.isfinite()
