"""A product of posteriors, each of which contains the prior already."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmvae.distributions import corrected_product_of_gaussians
from mmvae.posteriors import CorrectedProduct, Experts, Product
from mmvae.subsets import powerset, to_mask
from mmvae.testing import LinearGaussian

YARDSTICK = LinearGaussian.orthogonal({"a": 3, "b": 4, "c": 2}, latent_dim=2, seed=1)
DATA = YARDSTICK.sample(6)


def exact_experts(names: tuple[str, ...], observed: Tensor | None = None) -> Experts:
    """The true posterior of each modality."""
    alone = [YARDSTICK.posterior(DATA, name) for name in names]
    loc, scale = torch.stack([each.mean for each in alone]), torch.stack([each.stddev for each in alone])
    return Experts(names, loc, scale, observed, dist.Normal)


@pytest.mark.parametrize("subset", powerset(YARDSTICK.names), ids=" ".join)
def test_exact_for_exact_posteriors(subset: tuple[str, ...]) -> None:
    """In any number; where the plain product is too sure, but for one of them."""
    found, exact = CorrectedProduct().fuse(exact_experts(subset)), YARDSTICK.posterior(DATA, subset)
    torch.testing.assert_close(found.mean, exact.mean)
    torch.testing.assert_close(found.variance, exact.variance)
    plain = Product(prior_expert=False).fuse(exact_experts(subset))
    assert (plain.variance < exact.variance - 1e-3).all() == (len(subset) > 1)


def test_missing_rows_count_the_prior_less_often() -> None:
    """Each row has the posterior of what it has, whatever stands for the others."""
    observed = torch.tensor(
        [[True, True, False, True, False, True], [True, False, True, True, False, False], [True] * 6]
    )
    experts = exact_experts(YARDSTICK.names, observed)
    experts.loc[~observed] = 1e6
    found = CorrectedProduct().fuse(experts)
    for row in range(6):
        subset = [name for name, seen in zip(YARDSTICK.names, observed[:, row], strict=True) if seen]
        exact = YARDSTICK.posterior(DATA, subset)
        torch.testing.assert_close(found.mean[row], exact.mean[row])
        torch.testing.assert_close(found.variance[row], exact.variance[row])


def test_by_hand() -> None:
    """N(1, 1/2) and N(4, 1/5): precision 2 + 5 - 1 = 6, location (2 · 1 + 5 · 4) / 6."""
    loc, scale = torch.tensor([[[1.0]], [[4.0]]]), torch.tensor([[[0.5]], [[0.2]]]).sqrt()
    found = CorrectedProduct().fuse(Experts(("a", "b"), loc, scale, None, dist.Normal))
    torch.testing.assert_close(found.mean, torch.tensor([[22 / 6]]))
    torch.testing.assert_close(found.variance, torch.tensor([[1 / 6]]))


def test_products_of_posteriors_wider_than_the_prior_are_as_wide_as_the_widest() -> None:
    """Of which the exact formula would make a negative precision; one by itself stays as it is."""
    loc, scale = torch.full((3, 2, 1), 0.5), torch.full((3, 2, 1), 2.0)
    found = CorrectedProduct().fuse(Experts(("a", "b", "c"), loc, scale, None, dist.Normal))
    torch.testing.assert_close(found.variance, torch.full((2, 1), 4.0))
    torch.testing.assert_close(found.mean, torch.full((2, 1), 1.5))
    alone = CorrectedProduct().fuse(Experts(("a",), loc[:1], scale[:1], None, dist.Normal))
    torch.testing.assert_close(alone.variance, torch.full((2, 1), 4.0))


@pytest.mark.parametrize("wide", [(3.0, 2.0), (-1.0, 5.0), (0.4, 0.3), (2.0, 1.0)])
@pytest.mark.parametrize("ignorant", [1, 4])
def test_posteriors_that_know_nothing_change_nothing(wide: tuple[float, float], ignorant: int) -> None:
    """Any Gaussian times standard normals is itself, also if it is wider than they are."""
    loc, scale = torch.tensor([wide[0], *[0.0] * ignorant]), torch.tensor([wide[1], *[1.0] * ignorant])
    names = tuple(str(place) for place in range(ignorant + 1))
    found = CorrectedProduct().fuse(Experts(names, loc[:, None, None], scale[:, None, None], None, dist.Normal))
    torch.testing.assert_close(found.mean, torch.tensor([[wide[0]]]))
    torch.testing.assert_close(found.variance, torch.tensor([[wide[1] ** 2]]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), count=st.integers(1, 4))
def test_subsets_at_once_are_subsets_one_by_one(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(count, 5, 2, generator=generator)
    scale = (1.5 * torch.randn(count, 5, 2, generator=generator)).exp()
    observed = torch.rand(count, 5, generator=generator) < 0.7
    names = [str(index) for index in range(count)]
    members = to_mask(powerset(names), names)
    together = corrected_product_of_gaussians(loc, scale, observed=observed, members=members)
    for subset, row in enumerate(members):
        for n in range(5):
            taken = row & observed[:, n]
            precision = scale[taken, n] ** -2
            if taken.any():
                corrected = torch.maximum(precision.sum(0) - (taken.sum() - 1), precision.amin(0))
            else:
                corrected = torch.ones(2)
            expected = (precision * loc[taken, n]).sum(0) / corrected
            torch.testing.assert_close(together[0][subset, n], expected, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(together[1][subset, n], corrected.rsqrt(), rtol=1e-3, atol=1e-5)


def test_gradients_pass_through() -> None:
    loc, scale = torch.randn(3, 4, 2, dtype=torch.float64), 0.2 + 0.3 * torch.rand(3, 4, 2, dtype=torch.float64)

    def moments(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        found = CorrectedProduct().fuse(Experts(("a", "b", "c"), loc, scale, None, dist.Normal))
        return found.mean, found.variance

    assert torch.autograd.gradcheck(moments, (loc.requires_grad_(), scale.requires_grad_()))
