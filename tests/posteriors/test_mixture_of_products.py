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
    members = MixtureOfProducts(7).subsets()
    names = [str(index) for index in range(7)]
    assert torch.equal(members, to_mask(powerset(names), names))
    assert len(members) == 127


@pytest.mark.parametrize(("count", "cap"), [(8, 128), (12, 20), (20, 64)])
def test_beyond_the_cap_a_fixed_sample(count: int, cap: int) -> None:
    members = MixtureOfProducts(count, max_components=cap).subsets()
    assert len(members) == cap - 1  # one place is for everything that a row has
    assert len(members.unique(dim=0)) == cap - 1
    sizes = members.sum(1)
    assert (sizes[:count] == 1).all()
    assert sizes[-1] < count
    assert (sizes > 0).all()
    assert torch.equal(members, MixtureOfProducts(count, max_components=cap).subsets())
    assert not torch.equal(members, MixtureOfProducts(count, max_components=cap, seed=1).subsets())


def test_the_sample_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    MixtureOfProducts(11, max_components=30).subsets()
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_modalities_leave_the_subsets_of_the_others() -> None:
    observed = torch.tensor([[True, True, False, False], [True, False, True, True], [True, True, True, False]])
    mixture = MixtureOfProducts(3).fuse(experts(3, observed))
    members = MixtureOfProducts(3).subsets()
    for row in range(4):
        allowed = ~(members & ~observed[:, row]).any(1)
        torch.testing.assert_close(mixture.weights[:, row], allowed / allowed.sum())


@pytest.mark.parametrize(("prior_expert", "with_prior"), [("full", {3}), ("all", {1, 2, 3}), ("none", set())])
def test_where_the_prior_is_an_expert(prior_expert: str, with_prior: set[int]) -> None:
    given = experts(3)
    mixture = MixtureOfProducts(3, prior_expert).fuse(given)  # type: ignore[arg-type]
    for component, members in enumerate(MixtureOfProducts(3).subsets()):
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


@pytest.mark.parametrize("prior_expert", ["full", "all", "none"])
@pytest.mark.parametrize(("count", "cap"), [(3, 128), (9, 128), (5, 9)])
def test_a_mask_and_a_subset_say_the_same(count: int, cap: int, prior_expert: str) -> None:
    """The mixture is one of the model's modalities, whether a modality is masked or left out of the batch."""
    posterior, given = MixtureOfProducts(count, prior_expert, cap), experts(count)  # type: ignore[arg-type]
    for size in (1, 2, count - 1):
        observed = (torch.arange(count) < size)[:, None].expand(-1, 4)
        masked = posterior.fuse(Experts(given.names, given.loc, given.scale, observed, dist.Normal))
        part = Experts(
            given.names[:size], given.loc[:size], given.scale[:size], None, dist.Normal, everyone=given.names
        )
        left_out = posterior.fuse(part)
        members = (torch.arange(count) < size)[None]
        of_subset = posterior.fuse(given, members)
        for other in (left_out, of_subset):
            torch.testing.assert_close(other.mean.reshape(4, 2), masked.mean)
            torch.testing.assert_close(other.variance.reshape(4, 2), masked.variance)
            point = torch.zeros(4, 2)
            torch.testing.assert_close(other.log_prob(point).reshape(4), masked.log_prob(point))


def test_everything_a_row_has_is_a_component_once() -> None:
    """Of a sampled powerset: the product of all that a row has is there, and not twice where the sample has it."""
    posterior, given = MixtureOfProducts(9, "none", 20), experts(9)
    for size in (1, 2, 9):
        part = Experts(
            given.names[:size], given.loc[:size], given.scale[:size], None, dist.Normal, everyone=given.names
        )
        mixture = posterior.fuse(part)
        loc, _ = product_of_gaussians(part.loc, part.scale)
        same = (mixture.loc - loc).abs().amax(-1) < 1e-6  # [C, N]
        assert ((mixture.weights > 0) & same).sum(0).tolist() == [1] * 4
