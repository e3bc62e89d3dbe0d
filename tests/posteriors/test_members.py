"""Every fusion gives many subsets at once as it gives them one by one, with private columns and without."""

from __future__ import annotations

from itertools import product

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from mmvae import posteriors
from mmvae.layout import Layout
from mmvae.posteriors import (
    CorrectedProduct,
    DependentProduct,
    Experts,
    Flow,
    Fusion,
    GeometricPool,
    HoelderGaussian,
    HoelderPool,
    Mixture,
    MixtureOfProducts,
    Product,
    SetPooling,
)

NAMES = ("a", "b", "c")
ROWS = 4
SHARED = 2
LAYOUTS = {"shared": Layout(SHARED), "private": Layout.of(NAMES, SHARED, {"a": 1, "c": 2})}
FUSIONS: dict[str, Fusion] = {
    "Product": Product(False),
    "Product with the prior": Product(True),
    "CorrectedProduct": CorrectedProduct(),
    "Mixture": Mixture(),
    "MixtureOfProducts": MixtureOfProducts(3),
    "MixtureOfProducts with the prior": MixtureOfProducts(3, "all"),
    "GeometricPool": GeometricPool(3, SHARED).double(),
    "DependentProduct": DependentProduct(0.5),
    "HoelderPool": HoelderPool(),
    "HoelderGaussian": HoelderGaussian(),
    "SetPooling": SetPooling(SHARED, 8, 8).double(),
}


def experts(layout: Layout) -> Experts:
    """Random experts, of which each row lacks others, silent in the private columns of others."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(NAMES), ROWS, layout.size)
    loc = torch.randn(shape, generator=generator, dtype=torch.float64)
    scale = torch.randn(shape, generator=generator, dtype=torch.float64).mul(0.5).exp()
    for place, name in enumerate(NAMES):
        for owner in layout.private:
            if owner != name:
                loc[place][:, layout.columns(owner)], scale[place][:, layout.columns(owner)] = 0.0, 1.0
    observed = torch.tensor([[True, True, True, False], [True, False, True, True], [True, True, False, False]])
    return Experts(NAMES, loc, scale, observed, dist.Normal, layout)


def of_row(given: Experts, row: int, members: Tensor) -> Experts | None:
    """The members that saw data of a row; nothing, if there are none."""
    assert given.observed is not None
    chosen = (given.observed[:, row] & members).nonzero().flatten()
    if not len(chosen):
        return None
    loc, scale = given.loc[chosen][:, row : row + 1], given.scale[chosen][:, row : row + 1]
    return Experts(tuple(NAMES[each] for each in chosen), loc, scale, None, dist.Normal, given.layout, everyone=NAMES)


def test_no_fusion_of_the_library_is_left_out() -> None:
    public = {getattr(posteriors, name) for name in posteriors.__all__}
    fusions = {each for each in public if isinstance(each, type) and issubclass(each, Fusion)}
    assert fusions - {type(each) for each in FUSIONS.values()} == {Fusion, posteriors.SharedFusion, Flow}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
def test_subsets_at_once_are_subsets_one_by_one(fusion: Fusion, layout: Layout) -> None:
    """Masks of members and of rows say the same, and a row without a member is standard."""
    given = experts(layout)
    members = torch.tensor(list(product([False, True], repeat=len(NAMES))))
    together, whole = fusion.fuse(given, members), fusion.fuse(given)
    assert together.batch_shape == (len(members), ROWS)
    points = torch.randn(5, layout.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = together.log_prob(points[:, None, None].expand(5, len(members), ROWS, -1))
    of_all = whole.log_prob(points[:, None].expand(5, ROWS, -1))
    standard = dist.Normal(torch.zeros(layout.size, dtype=torch.float64), 1.0).to_event(1).log_prob(points)
    for row in range(ROWS):
        for index, chosen in enumerate(members):
            alone = of_row(given, row, chosen)
            expected = standard if alone is None else fusion.fuse(alone).log_prob(points[:, None])[:, 0]
            torch.testing.assert_close(found[:, index, row], expected)
        torch.testing.assert_close(of_all[:, row], found[:, -1, row])  # the last subset has everyone
