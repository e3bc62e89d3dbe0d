from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch

from mmvae.distributions import product_of_gaussians
from mmvae.posteriors import Experts, MixtureOfProducts
from mmvae.subsets import powerset, to_mask


def experts(count: int, observed: torch.Tensor | None = None) -> Experts:
    names = tuple(f"m{index}" for index in range(count))
    return Experts(names, torch.randn(count, 4, 2), 0.2 + torch.rand(count, 4, 2), observed, dist.Normal)


def test_all_subsets_up_to_the_cap() -> None:
    members = MixtureOfProducts(7).subsets(7)
    names = [str(index) for index in range(7)]
    assert torch.equal(members, to_mask(powerset(names), names))
    assert len(members) == 127


@pytest.mark.parametrize(("count", "cap"), [(8, 128), (12, 20), (20, 64)])
def test_beyond_the_cap_a_fixed_sample(count: int, cap: int) -> None:
    members = MixtureOfProducts(count, max_components=cap).subsets(count)
    assert len(members) == cap
    assert len(members.unique(dim=0)) == cap
    sizes = members.sum(1)
    assert (sizes[:count] == 1).all()
    assert sizes[-1] == count
    assert (sizes > 0).all()
    assert torch.equal(members, MixtureOfProducts(count, max_components=cap).subsets(count))
    assert not torch.equal(members, MixtureOfProducts(count, max_components=cap, seed=1).subsets(count))


def test_the_sample_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    MixtureOfProducts(11, max_components=30).subsets(11)
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_modalities_leave_the_subsets_of_the_others() -> None:
    observed = torch.tensor([[True, True, False, False], [True, False, True, True], [True, True, True, False]])
    mixture = MixtureOfProducts(3).fuse(experts(3, observed))
    members = MixtureOfProducts(3).subsets(3)
    for row in range(4):
        allowed = ~(members & ~observed[:, row]).any(1)
        torch.testing.assert_close(mixture.weights[:, row], allowed / allowed.sum())


@pytest.mark.parametrize(("prior_expert", "with_prior"), [("full", {3}), ("all", {1, 2, 3}), ("none", set())])
def test_where_the_prior_is_an_expert(prior_expert: str, with_prior: set[int]) -> None:
    given = experts(3)
    mixture = MixtureOfProducts(3, prior_expert).fuse(given)  # type: ignore[arg-type]
    for component, members in enumerate(MixtureOfProducts(3).subsets(3)):
        prior = float(int(members.sum()) in with_prior)
        loc, scale = product_of_gaussians(given.loc[members], given.scale[members], prior_precision=prior)
        torch.testing.assert_close(mixture.loc[component], loc)
        torch.testing.assert_close(mixture.scale[component], scale)


def test_a_part_of_the_modalities_is_not_the_whole() -> None:
    """Two of three modalities: the prior is in no product, as the full set is that of the model."""
    given = experts(2)
    mixture = MixtureOfProducts(3).fuse(given)
    loc, _ = product_of_gaussians(given.loc, given.scale)
    torch.testing.assert_close(mixture.loc[-1], loc)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="prior_expert"):
        MixtureOfProducts(3, "some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_components: 3 modalities need at least 4"):
        MixtureOfProducts(3, max_components=3)
