"""A product of posteriors, each of which contains the prior already."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from mmvae.posteriors import CorrectedProduct, Experts, Product
from mmvae.subsets import powerset
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


def test_the_result_is_never_wider_than_the_widest_expert() -> None:
    """Where the exact formula would give a negative precision; one expert by itself stays as it is."""
    loc, scale = torch.full((3, 2, 1), 0.5), torch.full((3, 2, 1), 2.0)
    found = CorrectedProduct().fuse(Experts(("a", "b", "c"), loc, scale, None, dist.Normal))
    torch.testing.assert_close(found.variance, torch.full((2, 1), 4.0))
    torch.testing.assert_close(found.mean, torch.full((2, 1), 1.5))
    alone = CorrectedProduct().fuse(Experts(("a",), loc[:1], scale[:1], None, dist.Normal))
    torch.testing.assert_close(alone.variance, torch.full((2, 1), 4.0))


def test_an_expert_like_the_prior_adds_nothing() -> None:
    """N(3, 4) beside N(0, 1), which says nothing: the product over the prior is N(3, 4) again."""
    loc, scale = torch.tensor([[[3.0]], [[0.0]]]), torch.tensor([[[2.0]], [[1.0]]])
    found = CorrectedProduct().fuse(Experts(("a", "b"), loc, scale, None, dist.Normal))
    torch.testing.assert_close(found.mean, torch.tensor([[3.0]]))
    torch.testing.assert_close(found.variance, torch.tensor([[4.0]]))


def test_gradients_pass_through() -> None:
    loc, scale = torch.randn(3, 4, 2, dtype=torch.float64), 0.2 + 0.3 * torch.rand(3, 4, 2, dtype=torch.float64)

    def moments(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        found = CorrectedProduct().fuse(Experts(("a", "b", "c"), loc, scale, None, dist.Normal))
        return found.mean, found.variance

    assert torch.autograd.gradcheck(moments, (loc.requires_grad_(), scale.requires_grad_()))
