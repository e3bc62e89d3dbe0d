"""Bilinear pooling against loops and explicit matrices."""

from __future__ import annotations

import pytest
import torch

from mmvae.nn import BilinearPooling


def test_plain_form_sums_products_of_neighbours() -> None:
    a, b = torch.randn(5, 12), torch.randn(5, 12)
    pooling = BilinearPooling(12, window=3)
    found = pooling(a, b)
    assert pooling.dim == 4
    assert not list(pooling.parameters())
    for row in range(5):
        for j in range(4):
            expected = sum(float(a[row, 3 * j + k] * b[row, 3 * j + k]) for k in range(3))
            assert float(found[row, j]) == pytest.approx(expected, abs=1e-5)


def test_expanded_form_is_a_bilinear_form_of_low_rank() -> None:
    pooling = BilinearPooling(12, window=3, expand=7, dropout=0.0).double()
    a, b = torch.randn(4, 5, 12, dtype=torch.float64), torch.randn(4, 5, 12, dtype=torch.float64)
    assert pooling.maps is not None
    left, right = (each.weight.unflatten(0, (7, 3)) for each in pooling.maps)  # [7, 3, 12]
    matrices = torch.einsum("oki,okj->oij", left, right)
    assert torch.linalg.matrix_rank(matrices).tolist() == [3] * 7
    torch.testing.assert_close(pooling(a, b), torch.einsum("lni,oij,lnj->lno", a, matrices, b))


def test_dropout_is_of_the_products_and_in_training_alone() -> None:
    pooling = BilinearPooling(12, window=3, expand=7, dropout=0.5)
    a, b = torch.randn(5, 12), torch.randn(5, 12)
    assert not torch.equal(pooling(a, b), pooling(a, b))
    pooling.eval()
    assert torch.equal(pooling(a, b), pooling(a, b))


def test_power_norm_gives_signed_roots_of_length_one() -> None:
    a, b = torch.randn(5, 12), torch.randn(5, 12)
    plain, normed = BilinearPooling(12)(a, b), BilinearPooling(12, power_norm=True)(a, b)
    roots = plain.sign() * plain.abs().sqrt()
    torch.testing.assert_close(normed, roots / roots.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_power_norm_has_finite_gradients_at_zero(dtype: torch.dtype) -> None:
    a = torch.zeros(2, 12, dtype=dtype, requires_grad=True)
    BilinearPooling(12, power_norm=True)(a, torch.ones(2, 12, dtype=dtype)).sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="window: 12 features cannot be cut into groups of 5; take a divisor of 12"):
        BilinearPooling(12, window=5)
    with pytest.raises(ValueError, match="window: expected at least 1, got 0"):
        BilinearPooling(12, window=0)
    with pytest.raises(ValueError, match="expand: expected at least 1, got 0"):
        BilinearPooling(12, expand=0)
    assert BilinearPooling(12, window=5, expand=3).dim == 3
