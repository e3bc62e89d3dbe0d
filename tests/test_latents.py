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


def test_nothing_is_known_of_a_refinement_that_was_not() -> None:
    latents = Latents(dist.Normal(torch.zeros(5, 2), 1.0).to_event(1), ("a",))
    assert latents.elbo_trace is None
    assert latents.diagnostics == {}
    other = Latents(latents.distribution, ("a",))
    assert latents.diagnostics is not other.diagnostics


def test_a_refinement_tells_of_itself() -> None:
    trace, r_hat = torch.randn(4, 5), torch.ones(5, 2)
    latents = Latents(dist.Normal(torch.zeros(5, 2), 1.0).to_event(1), ("a",), trace, {"r_hat": r_hat})
    assert latents.elbo_trace is trace
    assert latents.diagnostics["r_hat"] is r_hat


def test_draws_of_a_chain() -> None:
    """Moments over the draws of each row, and draws among them."""
    draws = torch.randn(5, 30, 2)
    latents = Latents(dist.Empirical(draws, torch.zeros(5, 30)), ("a",))
    assert len(latents) == 5
    torch.testing.assert_close(latents.mean, draws.mean(1))
    torch.testing.assert_close(latents.scale, draws.std(1, correction=0))
    assert latents.sample().shape == (5, 2)
    again = latents.sample(16)
    assert again.shape == (16, 5, 2)
    assert (again.unsqueeze(2) == draws).all(-1).any(-1).all()
