from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmvae.distributions import MixtureOfExperts, stratified_draws

FAMILIES = [dist.Normal, dist.Laplace]
each_family = pytest.mark.parametrize("family", FAMILIES)


def make(components: int = 3, size: int = 4, dim: int = 2, family: type = dist.Normal, weights: Tensor | None = None):  # type: ignore[no-untyped-def]
    loc, scale = 2 * torch.randn(components, size, dim), 0.2 + torch.rand(components, size, dim)
    return MixtureOfExperts(loc, scale, weights, family)


def apart(components: int, size: int, weights: Tensor) -> MixtureOfExperts:
    """Components so far apart that a draw tells where it comes from."""
    loc = 100.0 * torch.arange(components).reshape(-1, 1, 1).expand(-1, size, 1)
    return MixtureOfExperts(loc, torch.ones_like(loc), weights)


def component_of(draws: Tensor) -> Tensor:
    return (draws[..., 0] / 100).round().long()


@each_family
@pytest.mark.parametrize("dim", [1, 2])
def test_density_integrates_to_one(family: type, dim: int) -> None:
    mixture = make(size=2, dim=dim, family=family, weights=torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.5, 3.0]]))
    axis = torch.linspace(-25, 25, 20_001) if dim == 1 else torch.linspace(-14, 14, 561)
    grid = torch.cartesian_prod(*[axis] * dim).reshape(-1, 1, dim).expand(-1, 2, -1)
    total = mixture.log_prob(grid).exp().sum(0) * (axis[1] - axis[0]) ** dim
    torch.testing.assert_close(total, torch.ones(2), atol=1e-2, rtol=0)


@each_family
def test_log_prob_is_the_logarithm_of_the_weighted_sum(family: type) -> None:
    weights = torch.tensor([1.0, 2.0, 1.0])[:, None].expand(3, 4)
    mixture, z = make(family=family, weights=weights), torch.randn(5, 4, 2)
    expected = sum(
        share * family(mixture.loc[c], mixture.scale[c]).log_prob(z).sum(-1).exp()
        for c, share in enumerate((0.25, 0.5, 0.25))
    )
    torch.testing.assert_close(mixture.log_prob(z), expected.log())
    torch.testing.assert_close(mixture.log_prob(z[0, 0])[0], mixture.log_prob(z[0, 0].expand(4, 2))[0])


@each_family
def test_moments_of_independent_and_of_stratified_draws(family: type) -> None:
    mixture = make(family=family, weights=torch.rand(3, 4))
    for draws in (mixture.rsample((40_000,)), mixture.stratified_rsample(40_000), mixture.sample((40_000,))):
        assert draws.shape == (40_000, 4, 2)
        centred = draws - mixture.mean
        for values, expected in ((draws, mixture.mean), (centred.square(), mixture.variance)):
            assert ((values.mean(0) - expected).abs() < 5 * values.std(0) / 200).all()


@pytest.mark.parametrize("num_samples", [1, 2, 7, 12, 100])
def test_stratified_shares(num_samples: int) -> None:
    """Each component has its share to within one draw, exactly where the share is whole, and on average."""
    weights = torch.tensor([0.5, 0.25, 0.25])[:, None].expand(3, 2000)
    drawn = component_of(apart(3, 2000, weights).stratified_rsample(num_samples))
    for component, weight in enumerate((0.5, 0.25, 0.25)):
        counts, share = (drawn == component).sum(0).float(), num_samples * weight
        assert ((counts - share).abs() < 1).all()
        assert (counts.mean() - share).abs() < 5 * 0.5 / 2000**0.5
        if share == round(share):
            assert (counts == share).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), present=st.lists(st.booleans(), min_size=1, max_size=5).filter(any))
def test_components_of_weight_zero_are_never_drawn(seed: int, present: list[bool]) -> None:
    torch.manual_seed(seed)
    weights = torch.tensor(present)[:, None] * torch.rand(len(present), 6).clamp(min=1e-3)
    mixture = apart(len(present), 6, weights)
    allowed = torch.tensor(present)
    for draws in (mixture.rsample((50,)), mixture.stratified_rsample(50), mixture.batch_rsample()):
        assert allowed[component_of(draws)].all()


def test_even_the_last_position_falls_on_a_component(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform number that rounds to one belongs to the last component that has weight."""
    mixture = apart(4, 3, torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None].expand(4, 3))
    monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.ones(shape, **options))
    assert (component_of(mixture.rsample((5,))) == 2).all()
    monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.zeros(shape, **options))
    assert (component_of(mixture.rsample((5,))) == 0).all()


def test_a_batch_has_of_each_component_its_share() -> None:
    torch.manual_seed(0)
    mixture = apart(3, 9, torch.ones(3, 9))
    for _ in range(20):
        assert component_of(mixture.batch_rsample()).sort().values.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("size", [1, 2, 9])
def test_every_row_draws_every_component_by_its_weight(size: int) -> None:
    """Whatever the size of the batch and the place of the row in it."""
    torch.manual_seed(0)
    weights = torch.tensor([0.5, 0.3, 0.2])[:, None].expand(3, size)
    mixture = apart(3, size, weights)
    drawn = torch.stack([component_of(mixture.batch_rsample()) for _ in range(2000)])  # [2000, N]
    for component, weight in enumerate((0.5, 0.3, 0.2)):
        share = (drawn == component).double().mean(0)
        assert ((share - weight).abs() < 5 * (weight * (1 - weight) / 2000) ** 0.5).all()


def test_draws_of_every_component() -> None:
    mixture = apart(3, 2, torch.tensor([1.0, 0.0, 1.0])[:, None].expand(3, 2))
    draws = mixture.component_rsample(4)
    assert draws.shape == (4, 3, 2, 1)
    assert (component_of(draws) == torch.arange(3)[None, :, None]).all()


@each_family
def test_expand_repeats_the_mixture(family: type) -> None:
    mixture = make(family=family, weights=torch.rand(3, 4))
    wide = mixture.expand([5, 4])
    assert wide.batch_shape == (5, 4)
    assert wide.rsample((2,)).shape == (2, 5, 4, 2)
    z = torch.randn(5, 4, 2)
    torch.testing.assert_close(wide.log_prob(z), mixture.log_prob(z))
    torch.testing.assert_close(wide.mean[3], mixture.mean)
    assert mixture.expand((4,)).batch_shape == (4,)


def test_gradients_flow_into_components_and_stop_at_a_detached_copy() -> None:
    loc, scale = torch.randn(3, 4, 2, requires_grad=True), torch.rand(3, 4, 2, requires_grad=True)
    mixture = MixtureOfExperts(loc, scale + 0.1)
    for draws in (mixture.rsample((50,)), mixture.stratified_rsample(6), mixture.component_rsample(2)):
        for gradient in torch.autograd.grad(draws.sum(), [loc, scale]):
            assert gradient.any()
    frozen = mixture.detach()
    z = torch.randn(4, 2, requires_grad=True)
    frozen.log_prob(z).sum().backward()
    assert z.grad is not None
    assert loc.grad is None


def test_stratified_draws_of_any_distribution() -> None:
    assert stratified_draws(dist.Normal(torch.zeros(4, 2), 1.0).to_event(1), 3).shape == (3, 4, 2)
    assert stratified_draws(make(), 6).shape == (6, 4, 2)
