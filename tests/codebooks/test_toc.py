"""The choice of dimensions against the double loop over codes, and how latents are read in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import mmvae
from mmvae import Latents
from mmvae.distributions import point_mass
from mmvae.nn import Quantiser


def slow_scores(codebook: Tensor, criterion: str, balance: float) -> Tensor:
    """The mean product over ordered pairs of different codes, and the unbiased variance, code by code."""
    codes, dim = codebook.shape
    scores = torch.zeros(dim, dtype=torch.float64)
    for d in range(dim):
        column = codebook[:, d].double().tolist()
        products = [column[i] * column[j] for i in range(codes) for j in range(codes) if i != j]
        similarity = sum(products) / (codes * (codes - 1))
        mean = sum(column) / codes
        variance = sum((value - mean) ** 2 for value in column) / (codes - 1)
        both = -balance * similarity + (1 - balance) * variance
        scores[d] = {"both": both, "similarity": -similarity, "variance": variance}[criterion]
    return scores


@pytest.mark.parametrize("criterion", ["both", "similarity", "variance"])
@pytest.mark.parametrize("balance", [0.3, 0.7])
def test_scores_are_those_of_the_double_loop(criterion: Any, balance: float) -> None:
    codebook = torch.randn(40, 9).relu() + torch.randn(9)
    kept = mmvae.toc(codebook, keep=4, criterion=criterion, balance=balance)
    expected = slow_scores(codebook, criterion, balance)
    torch.testing.assert_close(kept.scores, expected, rtol=0, atol=1e-10)
    assert kept.dims.tolist() == expected.argsort(descending=True)[:4].tolist()
    assert torch.equal(kept.codebook, codebook[:, kept.dims])


def test_the_order_of_codes_does_not_matter() -> None:
    codebook = torch.randn(40, 9)
    shuffled = codebook[torch.randperm(40)]
    assert torch.equal(mmvae.toc(codebook, keep=9).dims, mmvae.toc(shuffled, keep=9).dims)


@pytest.mark.parametrize("criterion", ["both", "similarity", "variance"])
def test_a_constant_is_not_preferred(criterion: Any) -> None:
    """Not even a small one, whose codes look alike less than those of a dimension far from zero."""
    varied = torch.tensor([3.0, -3.0, 3.0, -3.0])
    codebook = torch.stack([torch.full((4,), 0.5), varied, varied + 9.0], 1)
    assert mmvae.toc(codebook, keep=1, criterion=criterion).dims.tolist() == [1]
    assert 0 not in mmvae.toc(codebook, keep=2, criterion=criterion).dims.tolist()


def test_dead_dimensions_are_never_kept() -> None:
    """After a ReLU, zeros score better than what half of the codes have: the guard leaves them out."""
    codebook = torch.rand(50, 8) * (torch.rand(50, 8) < 0.8)
    codebook[:, [2, 5, 6]] = 0
    for criterion in ("both", "similarity"):
        greedy = mmvae.toc(codebook, keep=3, criterion=criterion, drop_dead=False)  # type: ignore[arg-type]
        assert sorted(greedy.dims.tolist()) == [2, 5, 6]
        guarded = mmvae.toc(codebook, keep=5, criterion=criterion)  # type: ignore[arg-type]
        assert sorted(guarded.dims.tolist()) == [0, 1, 3, 4, 7]
    with pytest.raises(ValueError, match="keep: expected 1 to 5 dimensions, since 3 of the 8 are the same in all"):
        mmvae.toc(codebook, keep=6)
    assert len(mmvae.toc(codebook, keep=8, drop_dead=False).dims) == 8


def test_a_share_of_the_lowest() -> None:
    codebook = torch.randn(40, 9)
    codebook[:, 4] = 0
    ranked = [d for d in slow_scores(codebook, "both", 0.7).argsort(descending=True).tolist() if d != 4]
    kept = mmvae.toc(codebook, keep=4, lowest=0.25)
    assert kept.dims.tolist() == [*ranked[:3], ranked[-1]]
    assert mmvae.toc(codebook, keep=3, lowest=1.0).dims.tolist() == ranked[-3:]


def test_codes_that_were_never_used_have_no_say() -> None:
    codebook, used = torch.randn(40, 9), torch.rand(40) > 0.5
    kept, expected = mmvae.toc(codebook, keep=4, used=used), mmvae.toc(codebook[used], keep=4)
    assert torch.equal(kept.dims, expected.dims)
    torch.testing.assert_close(kept.scores, expected.scores)
    assert kept.codebook.shape == (40, 4)  # they may yet be chosen


def latents_of(quantiser: Quantiser, **others: Any) -> tuple[Latents, Tensor]:
    features = torch.randn(5, 4, 6)
    found = quantiser.assign(features)
    return Latents(point_mass(found.vectors), ("a",), codes=found.codes, **others), features


def test_slices_keep_the_codes() -> None:
    quantiser = Quantiser(20, 6)
    quantiser.codebook = torch.randn(20, 6)
    kept = mmvae.toc(quantiser, keep=3)
    latents, _ = latents_of(quantiser)
    assert torch.equal(kept.dims, mmvae.toc(quantiser.codebook, keep=3).dims)
    assert kept.codes(latents) is latents.codes
    assert torch.equal(kept(latents), latents.mean[..., kept.dims])
    assert torch.equal(kept(latents), kept.codebook[latents.codes])


def test_requantising_searches_in_the_kept_dimensions() -> None:
    quantiser = Quantiser(20, 6)
    quantiser.codebook = torch.randn(20, 6)
    kept = mmvae.toc(quantiser, keep=3, mode="requantise")
    plain, features = latents_of(quantiser)
    codes = plain.codes.clone()  # type: ignore[union-attr]
    codes[0, 0] = -1
    latents = Latents(plain.distribution, ("a",), diagnostics={"features": features}, codes=codes)
    distances = (features[..., None, kept.dims] - quantiser.codebook[:, kept.dims]).square().sum(-1)
    expected = distances.argmin(-1)
    expected[0, 0] = -1
    assert torch.equal(kept.codes(latents), expected)
    assert not torch.equal(expected, codes)
    assert torch.equal(kept(latents)[1:], quantiser.codebook[expected[1:]][..., kept.dims])
    assert not kept(latents)[0, 0].any()


def test_latents_of_one_vector_a_row() -> None:
    codebook = torch.randn(20, 6)
    latents = Latents(point_mass(codebook[:5]), ("a",), diagnostics={"features": codebook[:5]}, codes=torch.arange(5))
    for mode in ("slice", "requantise"):
        kept = mmvae.toc(codebook, keep=6, mode=mode)  # type: ignore[arg-type]
        assert torch.equal(kept(latents), codebook[:5, kept.dims])
        assert kept.codes(latents).tolist() == [0, 1, 2, 3, 4]


def test_the_codebook_itself_is_left_as_it_is() -> None:
    codebook = torch.randn(20, 6, requires_grad=True)
    kept = mmvae.toc(codebook, keep=3)
    assert not kept.codebook.requires_grad
    assert codebook.grad is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 0}, "keep: expected 1 to 6 dimensions, got 0"),
        ({"keep": 7}, "keep: expected 1 to 6 dimensions, got 7"),
        ({"criterion": "all"}, "criterion: expected 'both', 'similarity' or 'variance', got 'all'"),
        ({"mode": "search"}, "mode: expected 'slice' or 'requantise', got 'search'"),
        ({"balance": 1.5}, "balance: expected 0 to 1, got 1.5"),
        ({"lowest": -0.1}, "lowest: expected 0 to 1, got -0.1"),
        ({"used": torch.ones(20)}, r"used: expected a boolean mask over the 20 codes, got torch.float32 \(20,\); of a"),
        ({"used": torch.arange(20) < 1}, "codebook: expected at least 2 codes to compare, got 1"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mmvae.toc(torch.randn(20, 6), **{"keep": 3, **arguments})


def test_what_has_no_codebook() -> None:
    with pytest.raises(TypeError, match=r"Linear has no codebook; toc takes a tensor \[L, D\], or a model with one"):
        mmvae.toc(torch.nn.Linear(2, 2), keep=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"codebook: expected codes \[L, D\], got \(3,\)"):
        mmvae.toc(torch.randn(3), keep=1)
    with pytest.raises(ValueError, match="codebook: expected finite codes"):
        mmvae.toc(torch.full((3, 2), torch.nan), keep=1)


def test_latents_that_do_not_fit() -> None:
    codebook = torch.randn(20, 6)
    plain = Latents(point_mass(torch.randn(5, 6)), ("a",))
    narrow = Latents(point_mass(torch.randn(5, 4)), ("a",), diagnostics={"features": torch.randn(5, 4)})
    sliced, searched = mmvae.toc(codebook, keep=3), mmvae.toc(codebook, keep=3, mode="requantise")
    with pytest.raises(ValueError, match="codes: these latents have none"):
        sliced.codes(plain)
    with pytest.raises(ValueError, match=r"mode='requantise': these latents do not hold diagnostics\['features'\]"):
        searched(plain)
    with pytest.raises(ValueError, match="mean: expected latents of width 6 as the codebook, got 4"):
        sliced(narrow)
    with pytest.raises(ValueError, match="features: expected latents of width 6 as the codebook, got 4"):
        searched.codes(narrow)
