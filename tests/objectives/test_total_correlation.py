from __future__ import annotations

from typing import Any

import pytest
import torch
from objectives.parts import make

from mmvae.objectives import LinearWarmup, TotalCorrelation


def test_alpha_zero_is_the_plain_elbo() -> None:
    model, data = make("MVTCAE", alpha=0.0)
    model.weights = dict.fromkeys(model.names, 1.0)
    loss = model.loss(data)
    torch.testing.assert_close(loss.total, -loss.terms["elbo"])


@pytest.mark.parametrize("alpha", [-0.1, 1.1, LinearWarmup(0.5)])
def test_alpha_out_of_range(alpha: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"alpha: expected a number.* got "):
        TotalCorrelation(alpha)
