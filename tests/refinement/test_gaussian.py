from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch

from mmvae.distributions import MixtureOfExperts
from mmvae.nn import NormalHead
from mmvae.refinement import Gaussian


def test_a_normal_is_itself() -> None:
    """Bit by bit, and with its gradients."""
    loc, scale = torch.randn(4, 2, requires_grad=True), torch.rand(4, 2) + 0.1
    found = Gaussian.of(dist.Normal(loc, scale).to_event(1))
    assert found.loc is loc
    assert torch.equal(found.scale, scale)


def test_a_laplace_is_the_normal_of_its_moments() -> None:
    loc, scale = torch.randn(4, 2), torch.rand(4, 2) + 0.1
    found = Gaussian.of(dist.Laplace(loc, scale).to_event(1))
    assert torch.equal(found.loc, loc)
    torch.testing.assert_close(found.scale, scale * 2**0.5)


def test_a_mixture_is_the_normal_that_covers_it() -> None:
    """Two components, 0.25 of N(0, 1) and 0.75 of N(4, 4): mean 3, variance 0.25 · (1 + 9) + 0.75 · (4 + 1)."""
    loc, scale = torch.tensor([[[0.0]], [[4.0]]]), torch.tensor([[[1.0]], [[2.0]]])
    found = Gaussian.of(MixtureOfExperts(loc, scale, torch.tensor([[1.0], [3.0]])))
    torch.testing.assert_close(found.loc, torch.tensor([[3.0]]))
    torch.testing.assert_close(found.scale, torch.tensor([[6.25]]).sqrt())


def test_a_point_has_no_variance() -> None:
    with pytest.raises(ValueError, match="point mass"):
        Gaussian.of(dist.Delta(torch.zeros(3, 2), event_dim=1))


def test_log_variances_are_those_of_the_scales_within_soft_bounds() -> None:
    log_variance = torch.tensor([[-99.0, -20.0, -1.0, 0.0, 3.0, 20.0, 99.0]], requires_grad=True)
    found = Gaussian.from_log_variance(torch.zeros(1, 7), log_variance)
    expected = torch.tensor([[-20.0, -1.0, 0.0, 3.0, 20.0]])
    torch.testing.assert_close(found.log_variance[:, 1:-1], expected)
    torch.testing.assert_close(found.scale[:, 1:-1].square(), expected.exp())
    assert 20 < found.log_variance[0, -1] < 24
    found.log_variance.sum().backward()
    assert log_variance.grad is not None
    assert (log_variance.grad > 0).all()


def test_what_heads_give_is_not_moved() -> None:
    head = NormalHead(3, 2)
    loc, scale = head(1e4 * torch.randn(200, 3))
    q = Gaussian(loc, scale)
    torch.testing.assert_close(Gaussian.from_log_variance(q.loc, q.log_variance).scale, scale)


def test_as_a_distribution() -> None:
    loc, scale, z = torch.randn(4, 2), torch.rand(4, 2) + 0.1, torch.randn(4, 2)
    found = Gaussian(loc, scale).distribution
    assert found.batch_shape == (4,)
    assert found.event_shape == (2,)
    expected = -0.5 * ((z - loc) / scale) ** 2 - scale.log() - 0.5 * torch.tensor(2 * torch.pi).log()
    torch.testing.assert_close(found.log_prob(z), expected.sum(-1))


def test_rows_of_two() -> None:
    first, second = Gaussian(torch.zeros(3, 2), torch.ones(3, 2)), Gaussian(torch.ones(3, 2), torch.full((3, 2), 5.0))
    found = first.where(torch.tensor([True, False, True]), second)
    assert torch.equal(found.loc, torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    assert torch.equal(found.scale, torch.tensor([[1.0, 1.0], [5.0, 5.0], [1.0, 1.0]]))


def test_detached_it_carries_no_gradient() -> None:
    loc = torch.randn(3, 2, requires_grad=True)
    found = Gaussian(loc, loc.exp()).detach()
    assert not found.loc.requires_grad
    assert not found.scale.requires_grad
    assert torch.equal(found.loc, loc)
