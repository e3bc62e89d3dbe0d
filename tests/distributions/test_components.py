"""A posterior that is no mixture, with what objectives ask of one."""

from __future__ import annotations

import pyro.distributions as dist
import torch

from mmvae.distributions.components import OneComponent, as_mixture


def test_one_component_answers_as_a_mixture_of_itself_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    base = dist.Normal(torch.randn(4, 3, generator=generator), 0.5).to_event(1)
    one, mixture = OneComponent(base), as_mixture(base)
    value = torch.randn(6, 4, 3, generator=generator)
    assert one.component_rsample(6).shape == mixture.component_rsample(6).shape == (6, 1, 4, 3)
    assert one.num_components == mixture.num_components
    torch.testing.assert_close(one.weights, mixture.weights)
    for name in ("log_prob", "component_log_prob", "responsibilities"):
        torch.testing.assert_close(getattr(one, name)(value), getattr(mixture, name)(value))
    own = torch.rand(6, 1, 4, generator=generator)
    torch.testing.assert_close(one.own_share(own), mixture.own_share(own))
