"""Canonical correlations against eigen-decompositions, known correlations, and gradients."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from mmvae.nn import CCALoss, canonical_correlations, cca_loss

RIDGE = 1e-3


def views(rows: int = 200, width: int = 8, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two views with canonical correlations all over the range."""
    shared = torch.randn(rows, width, dtype=dtype)
    strength = torch.linspace(0.1, 2.0, width, dtype=dtype)
    a = shared * strength + torch.randn(rows, width, dtype=dtype)
    b = shared * strength + torch.randn(rows, width, dtype=dtype)
    return a @ torch.randn(width, width, dtype=dtype), b @ torch.randn(width, width, dtype=dtype)


def by_symmetric_roots(a: Tensor, b: Tensor, ridge: float = RIDGE) -> Tensor:
    """F = S_aa^{-1/2} S_ab S_bb^{-1/2} as it is defined, entry by entry, with roots from eigen-decompositions."""

    def covariance(x: Tensor, y: Tensor) -> Tensor:
        rows = [
            [((x[:, i] - x[:, i].mean()) * (y[:, j] - y[:, j].mean())).sum() for j in range(y.shape[1])]
            for i in range(x.shape[1])
        ]
        return torch.stack([torch.stack(row) for row in rows]) / (len(x) - 1)

    def inverse_root(matrix: Tensor, size: Tensor) -> Tensor:
        added = ridge * (torch.trace(matrix) / len(matrix) + 1e-6 * size)
        values, vectors = torch.linalg.eigh(matrix + added * torch.eye(len(matrix), dtype=matrix.dtype))
        return vectors @ torch.diag(values.rsqrt()) @ vectors.T

    roots = [inverse_root(covariance(each, each), each.square().mean()) for each in (a, b)]
    return roots[0] @ covariance(a, b) @ roots[1]


def test_correlations_are_the_singular_values_of_the_definition() -> None:
    a, b = views()
    expected = torch.linalg.svdvals(by_symmetric_roots(a, b))
    torch.testing.assert_close(canonical_correlations(a, b, RIDGE), expected)
    assert (expected[1:] <= expected[:-1]).all()
    narrower = torch.linalg.svdvals(by_symmetric_roots(a, b[:, :3]))
    torch.testing.assert_close(canonical_correlations(a, b[:, :3], RIDGE), narrower)


def test_norms_are_those_of_the_definition() -> None:
    a, b = views()
    whitened = by_symmetric_roots(a, b)
    values, vectors = torch.linalg.eigh(whitened.T @ whitened)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    expected = {
        "nuclear": torch.trace(root),
        "frobenius": torch.trace(whitened.T @ whitened).sqrt(),
        "squared": torch.trace(whitened.T @ whitened),
    }
    largest = {"nuclear": 8.0, "frobenius": 8.0**0.5, "squared": 8.0}
    for norm, value in expected.items():
        torch.testing.assert_close(cca_loss(a, b, RIDGE, norm, normalised=False), -value)
        torch.testing.assert_close(cca_loss(a, b, RIDGE, norm), -value / largest[norm])


def test_top_k_counts_the_largest() -> None:
    a, b = views()
    correlations = torch.linalg.svdvals(by_symmetric_roots(a, b))
    torch.testing.assert_close(cca_loss(a, b, top_k=3, normalised=False), -correlations[:3].sum())
    torch.testing.assert_close(cca_loss(a, b, norm="squared", top_k=3), -correlations[:3].square().mean())
    torch.testing.assert_close(cca_loss(a, b, top_k=8), cca_loss(a, b))
    with pytest.raises(ValueError, match="top_k: expected a number from 1 to 8, the width of the views, got 9"):
        cca_loss(a, b, top_k=9)


def test_leading_dimensions_are_pairs_of_their_own() -> None:
    pairs = [views() for _ in range(3)]
    a, b = torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])
    torch.testing.assert_close(
        canonical_correlations(a, b), torch.stack([canonical_correlations(*pair) for pair in pairs])
    )
    torch.testing.assert_close(cca_loss(a, b), torch.stack([cca_loss(*pair) for pair in pairs]).mean())


@pytest.mark.parametrize("norm", ["nuclear", "frobenius", "squared"])
def test_gradients(norm: str) -> None:
    a, b = (view.requires_grad_() for view in views(rows=12, width=3))
    assert torch.autograd.gradcheck(lambda x, y: cca_loss(x, y, RIDGE, norm), (a, b))  # type: ignore[arg-type]


def test_gradients_are_those_of_the_symmetric_route() -> None:
    a, b = (view.requires_grad_() for view in views())
    gradients = torch.autograd.grad(cca_loss(a, b, RIDGE, normalised=False), (a, b))
    expected = torch.autograd.grad(-torch.linalg.svdvals(by_symmetric_roots(a, b)).sum(), (a, b))
    torch.testing.assert_close(gradients, expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(("pairs", "rows", "width"), [(3, 12, 4), (2, 64, 16), (12, 512, 64)])
def test_without_singular_values_the_loss_is_the_same(pairs: int, rows: int, width: int) -> None:
    """Value and gradients, from independent views to those that are nearly one."""
    a, noise = (torch.randn(pairs, rows, width, dtype=torch.float64) for _ in range(2))
    b = (a * torch.linspace(0, 1, width, dtype=torch.float64) + noise).requires_grad_()
    a.requires_grad_()
    for norm in ("nuclear", "frobenius", "squared"):
        found = cca_loss(a, b, RIDGE, norm)  # type: ignore[arg-type]
        expected = cca_loss(a, b, RIDGE, norm, top_k=width)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
        one, other = (torch.autograd.grad(loss, (a, b)) for loss in (found, expected))
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_a_feature_that_is_constant_correlates_with_nothing() -> None:
    a, b = views()
    a[:, 3] = 2.0
    b[:, 5] = b[:, 4]  # and one that is there twice
    a, b = a.requires_grad_(), b.requires_grad_()
    loss = cca_loss(a, b, normalised=False)
    torch.testing.assert_close(loss, -canonical_correlations(a, b).sum(), rtol=1e-9, atol=0)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, (a, b)))


def test_gradients_are_finite_where_eigenvalues_repeat() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        a, b = (torch.randn(6, 16, generator=generator).requires_grad_() for _ in range(2))
        gradients = torch.autograd.grad(cca_loss(a, b), (a, b))
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e4])
def test_the_scale_of_a_view_changes_nothing(scale: float) -> None:
    """Neither correlations nor losses; so no gradient rewards or punishes larger views."""
    a, b = views()
    torch.testing.assert_close(canonical_correlations(scale * a, b), canonical_correlations(a, b))
    grown = (scale * a).requires_grad_()
    loss = cca_loss(grown, b)
    torch.testing.assert_close(loss, cca_loss(a, b))
    (gradient,) = torch.autograd.grad(loss, grown)
    assert float((gradient * grown).sum().detach().abs()) < 1e-9


def test_a_view_that_never_varies_correlates_with_nothing() -> None:
    a, b = views()
    still = torch.full_like(a, 3.0).requires_grad_()
    assert (canonical_correlations(still, b) == 0).all()
    (gradient,) = torch.autograd.grad(cca_loss(still, b), still)
    assert gradient.isfinite().all()


def test_rounding_correlates_with_nothing() -> None:
    a, b = views()
    nearly_still = (1 + 1e-7 * a).float()
    assert float(canonical_correlations(nearly_still, b.float()).max()) < 0.02
    shifted = a + 100 * a.std()
    torch.testing.assert_close(canonical_correlations(shifted, b), canonical_correlations(a, b), rtol=0.01, atol=0)


def test_known_correlations() -> None:
    """Identical, correlated, independent and affinely mapped views, N = 4096, d = 8."""
    image, noise = torch.randn(4096, 8), torch.randn(4096, 8)
    text = 0.8 * image + 0.6 * noise
    assert float(cca_loss(image, image)) == pytest.approx(-0.999, abs=0.002)
    assert float(cca_loss(image, text)) == pytest.approx(-0.8, abs=0.02)
    assert float(cca_loss(image, torch.randn(4096, 8))) > -0.06
    mapped = image @ torch.randn(8, 8) * 2 + torch.randn(8)
    small = 1e-5  # a ridge is relative to the mean variance, and weighs more where a map makes variances differ
    assert float(cca_loss(mapped, text, small)) == pytest.approx(float(cca_loss(image, text, small)), abs=1e-3)


@pytest.mark.parametrize(("rows", "bias"), [(16, 0.48), (32, 0.95), (64, 0.64), (128, 0.43), (256, 0.30), (512, 0.21)])
def test_few_rows_bias_the_correlations_of_independent_views(rows: int, bias: float) -> None:
    """Of width 32: why batches have to be large."""
    a, b = torch.randn(8, rows, 32), torch.randn(8, rows, 32)
    assert float(canonical_correlations(a, b).mean()) == pytest.approx(bias, abs=0.03)


def test_the_precision_around_it_does_not_matter() -> None:
    a, b = views(dtype=torch.float32)
    a[:, 0] *= 1e3  # a covariance of which float32 would lose the rest
    expected, loss = canonical_correlations(a, b), cca_loss(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        found = canonical_correlations(a, b)
        assert torch.equal(cca_loss(a, b), loss)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    torch.testing.assert_close(canonical_correlations(a.double(), b.double()).float(), expected)
    halves = canonical_correlations(a.bfloat16(), b.bfloat16())
    assert halves.dtype == torch.float32


def test_views_that_are_not_finite_give_a_loss_that_is_not() -> None:
    a, b = views()
    a[3, 2] = torch.nan
    assert canonical_correlations(a, b).isnan().all()
    for norm in ("nuclear", "frobenius", "squared"):
        assert cca_loss(a, b, norm=norm).isnan()  # type: ignore[arg-type]
        assert cca_loss(a, b, norm=norm, top_k=2).isnan()  # type: ignore[arg-type]


def test_wrong_settings_are_refused() -> None:
    a, b = views()
    with pytest.raises(ValueError, match="at least two rows, got 1"):
        canonical_correlations(a[:1], b[:1])
    with pytest.raises(ValueError, match="ridge: expected a number above 0, got 0"):
        canonical_correlations(a, b, 0.0)
    with pytest.raises(ValueError, match='norm: expected "nuclear", "frobenius" or "squared", got \'trace\''):
        cca_loss(a, b, norm="trace")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="norm: expected"):
        CCALoss(norm="top_k")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ridge: expected a number of at least 0, got -1"):
        CCALoss(-1.0)
    with pytest.raises(ValueError, match="top_k: expected at least 1, got 0"):
        CCALoss(top_k=0)


def test_a_large_batch_gives_the_loss_in_silence() -> None:
    a, b = views(rows=64)
    loss = CCALoss(1e-2, "squared", top_k=2)
    torch.testing.assert_close(loss(a, b), cca_loss(a, b, 1e-2, "squared", 2))


def test_a_small_batch_is_warned_of_once() -> None:
    loss = CCALoss()
    a, b = views(rows=31)
    with pytest.warns(UserWarning, match=r"width 8 from 31 rows .* mostly chance; take batches with at least 64"):
        torch.testing.assert_close(loss(a, b), cca_loss(a, b))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(a, b)


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_tiny_batch_is_left_out(rows: int) -> None:
    a, b = (torch.randn(rows, 8, requires_grad=True) for _ in range(2))
    with pytest.warns(UserWarning, match="left out of the loss"):
        value = CCALoss()(a, b)
    assert float(value) == 0
    assert not value.requires_grad
    assert CCALoss.is_defined(10, 8)
    assert not CCALoss.is_defined(9, 8)
