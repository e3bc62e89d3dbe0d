from __future__ import annotations

import pyro.distributions as dist
import torch

from mmvae import Latents


def test_a_view_of_its_distribution() -> None:
    loc, scale = torch.randn(5, 2), torch.rand(5, 2) + 0.1
    latents = Latents(dist.Laplace(loc, scale).to_event(1), ("a", "b"))
    assert len(latents) == 5
    assert latents.subset == ("a", "b")
    assert torch.equal(latents.mean, loc)
    torch.testing.assert_close(latents.scale, scale * 2**0.5)
    assert latents.sample().shape == (5, 2)
    assert latents.sample(16).shape == (16, 5, 2)
