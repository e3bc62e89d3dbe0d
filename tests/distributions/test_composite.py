from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Distribution

from mmvae.distributions import MixtureOfExperts, concatenate, point_mass


def parts(kind: str) -> list[Distribution]:
    found: list[Distribution] = []
    for size in (3, 1, 2):
        loc, scale = torch.randn(2, size, 4), 0.1 + torch.rand(2, size, 4)
        if kind == "mixture":
            found.append(MixtureOfExperts(loc, scale, torch.rand(2, size), dist.Laplace))
        else:
            found.append(getattr(dist, kind)(loc[0], scale[0]).to_event(1))
    return found


@pytest.mark.parametrize("kind", ["Normal", "Laplace", "mixture"])
def test_rows_keep_their_distributions(kind: str) -> None:
    separate = parts(kind)
    whole = concatenate(separate)
    assert type(whole) is type(separate[0])
    assert whole.batch_shape == (6,)
    assert whole.event_shape == (4,)
    z = torch.randn(6, 4)
    expected = torch.cat([part.log_prob(points) for part, points in zip(separate, z.split([3, 1, 2]), strict=True)])
    torch.testing.assert_close(whole.log_prob(z), expected)
    torch.testing.assert_close(whole.mean, torch.cat([part.mean for part in separate]))


def test_draws_of_chains_stay_with_their_rows() -> None:
    """Empirical distributions, with weights of their own: moments, draws and shapes are those of the parts."""
    separate = [dist.Empirical(torch.randn(size, 50, 4), torch.rand(size, 50)) for size in (3, 1, 2)]
    whole = concatenate(separate)
    assert isinstance(whole, dist.Empirical)
    assert whole.batch_shape == (6,)
    assert whole.event_shape == (4,)
    torch.testing.assert_close(whole.mean, torch.cat([part.mean for part in separate]))
    torch.testing.assert_close(whole.variance, torch.cat([part.variance for part in separate]))
    known = torch.cat([part._samples for part in separate])
    draws = whole.sample(torch.Size((20,)))
    assert draws.shape == (20, 6, 4)
    assert (draws.unsqueeze(2) == known).all(-1).any(-1).all()  # each is one of its own row's


def test_one_part_is_itself() -> None:
    (part, *_) = parts("Normal")
    assert concatenate([part]) is part


def test_rows_of_any_kind_are_joined() -> None:
    """Also of different kinds: densities, moments and draws are those of each row's own part."""
    loc, scale = torch.randn(3, 4), 0.1 + torch.rand(3, 4)
    separate = [
        dist.Gamma(1 + scale, 1.0).to_event(1),
        MixtureOfExperts(loc[None], scale[None]),
        dist.Normal(loc, scale).to_event(1),
    ]
    whole = concatenate(separate)
    assert (whole.batch_shape, whole.event_shape) == ((9,), (4,))
    z = torch.rand(2, 9, 4)
    expected = [part.log_prob(rows) for part, rows in zip(separate, z.split(3, 1), strict=True)]
    torch.testing.assert_close(whole.log_prob(z), torch.cat(expected, 1))
    torch.testing.assert_close(whole.mean, torch.cat([part.mean for part in separate]))
    torch.testing.assert_close(whole.variance, torch.cat([part.variance for part in separate]))
    assert whole.rsample(torch.Size((5,))).shape == (5, 9, 4)
    assert (whole.sample(torch.Size((5,)))[:, :3] > 0).all()


def test_rows_of_different_sizes_are_refused() -> None:
    parts = [dist.Normal(torch.zeros(2, size), 1.0).to_event(1) for size in (3, 4)]
    with pytest.raises(ValueError, match=r"event shapes"):
        concatenate([MixtureOfExperts(parts[0].base_dist.loc[None], torch.ones(1, 2, 3)), parts[1]])


@pytest.mark.parametrize("event", [(3,), (4, 3)])
def test_point_masses(event: tuple[int, ...]) -> None:
    """All mass at the latent: its mean, without variance; latents that are sequences keep their steps."""
    z = torch.randn(5, *event)
    whole = concatenate([point_mass(z[:2]), point_mass(z[2:])])
    assert whole.batch_shape == (5,)
    assert whole.event_shape == event
    assert torch.equal(whole.mean, z)
    assert torch.equal(whole.sample(), z)
    assert (whole.variance == 0).all()
    assert (whole.log_prob(z) == 0).all()
    assert (whole.log_prob(z + 1) == -torch.inf).all()
