"""Every probabilistic recipe is refined after training, from any subset."""

from __future__ import annotations

import pytest
import torch
from objectives.parts import make
from test_abilities import PRIVATE, VAES

import mmvae


@pytest.mark.parametrize("kind", VAES)
def test_the_bound_of_a_subset_rises(kind: str) -> None:
    """On the average of a batch; private latents stay columns of the whole, and the model stays as it is."""
    torch.manual_seed(0)
    model, data = make(kind, **({"private_dim": 1} if kind in PRIVATE else {}))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for subset in (("real",), ("bits", "codes")):
        torch.manual_seed(1)
        latents = mmvae.infer(model, data, subset, refine="gradient", steps=20)
        assert latents.elbo_trace is not None
        assert latents.elbo_trace.shape == (21, 6)
        assert latents.elbo_trace[-1].mean() > latents.elbo_trace[0].mean()
        assert latents.mean.shape == (6, model.latent_dim)
        assert tuple(latents.private) == tuple(model.layout.private)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
