from __future__ import annotations

import pyro.distributions as dist
import torch

from mmvae.distributions import SharedScaleLaplace


def test_events_are_scored_as_by_their_numbers() -> None:
    loc, value, scale = torch.randn(3, 4, 2, 5), torch.randn(4, 2, 5), torch.tensor(0.6, requires_grad=True)
    fast, plain = SharedScaleLaplace(loc, scale), dist.Laplace(loc, scale)
    for count in (0, 1, 2):
        torch.testing.assert_close(fast.to_event(count).log_prob(value), plain.to_event(count).log_prob(value))
    first, second = (each.to_event(2).log_prob(value).sum() for each in (fast, plain))
    torch.testing.assert_close(*(torch.autograd.grad(total, scale)[0] for total in (first, second)))


def test_it_expands_and_draws() -> None:
    wide = SharedScaleLaplace(torch.zeros(4, 5), torch.tensor(2.0)).to_event(1).expand([3, 4])
    value = torch.randn(3, 4, 5)
    torch.testing.assert_close(wide.log_prob(value), dist.Laplace(0.0, 2.0).log_prob(value).sum(-1))
    assert wide.sample((2,)).shape == (2, 3, 4, 5)
