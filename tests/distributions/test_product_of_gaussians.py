from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from mmvae.distributions import corrected_product_of_gaussians, product_of_gaussians
from mmvae.subsets import powerset, to_mask


def test_density_is_the_product_of_densities() -> None:
    """Up to a constant, which the differences between two points do not have."""
    loc, scale = torch.randn(3, 5, 2), 0.3 + torch.rand(3, 5, 2)
    product = Normal(*product_of_gaussians(loc, scale, prior_precision=1.0))
    z, other = torch.randn(5, 2), torch.randn(5, 2)

    def log_product(point: torch.Tensor) -> torch.Tensor:
        return Normal(loc, scale).log_prob(point).sum(0) + Normal(0.0, 1.0).log_prob(point)

    difference = product.log_prob(z) - product.log_prob(other)
    torch.testing.assert_close(difference, log_product(z) - log_product(other), rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), count=st.integers(1, 4))
def test_subsets_at_once_are_subsets_one_by_one(seed: int, count: int) -> None:
    torch.manual_seed(seed)
    loc, scale = torch.randn(count, 5, 2), 0.1 + torch.rand(count, 5, 2)
    observed = torch.rand(count, 5) < 0.7
    names = [str(index) for index in range(count)]
    members = to_mask(powerset(names), names)
    prior = torch.rand(len(members))
    together = product_of_gaussians(loc, scale, observed=observed, members=members, prior_precision=prior)
    for subset, row in enumerate(members):
        for n in range(5):
            precision, weighted = prior[subset].expand(2).clone(), torch.zeros(2)
            for expert in range(count):
                if row[expert] and observed[expert, n]:
                    precision += scale[expert, n] ** -2
                    weighted += loc[expert, n] * scale[expert, n] ** -2
            torch.testing.assert_close(together[0][subset, n], weighted / precision, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(together[1][subset, n], precision.rsqrt(), rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), prior=st.floats(0, 2))
def test_a_mask_that_hides_nothing_changes_nothing(seed: int, prior: float) -> None:
    """Values and gradients."""
    torch.manual_seed(seed)
    loc, scale = torch.randn(3, 5, 2, requires_grad=True), (0.1 + torch.rand(3, 5, 2)).requires_grad_()
    everything = torch.ones(3, 5, dtype=torch.bool)
    plain = product_of_gaussians(loc, scale, prior_precision=prior)
    masked = product_of_gaussians(loc, scale, observed=everything, prior_precision=prior)
    torch.testing.assert_close(plain, masked)
    gradients = [torch.autograd.grad(sum(each.sum() for each in pair), (loc, scale)) for pair in (plain, masked)]
    torch.testing.assert_close(*gradients)


def test_nothing_at_all_is_the_standard_normal() -> None:
    loc, scale = product_of_gaussians(
        torch.randn(2, 3, 2), torch.ones(2, 3, 2), observed=torch.zeros(2, 3, dtype=torch.bool)
    )
    assert (loc == 0).all()
    assert (scale == 1).all()


def test_precise_experts_do_not_overflow() -> None:
    loc, scale = product_of_gaussians(torch.ones(12, 1, 1), torch.full((12, 1, 1), 5.5e-4), prior_precision=1.0)
    torch.testing.assert_close(loc, torch.ones(1, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(scale, torch.full((1, 1), 5.5e-4 / 12**0.5), rtol=1e-4, atol=0)


def test_products_of_subsets_are_not_rounded_under_autocast() -> None:
    loc, scale = torch.randn(3, 5, 2), 0.1 + torch.rand(3, 5, 2)
    members = to_mask(powerset("abc"), "abc")
    for fuse in (product_of_gaussians, corrected_product_of_gaussians):
        expected = fuse(loc, scale, members=members)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = fuse(loc, scale, members=members)
        torch.testing.assert_close(found, expected)
