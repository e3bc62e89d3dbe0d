"""The nuclear norm and its gradient against singular values that are known, and decompositions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmvae.networks.cca import nuclear_norm


def rotation(width: int) -> Tensor:
    return torch.linalg.qr(torch.randn(width, width, dtype=torch.float64)).Q


def matrix_of(values: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """A matrix with these singular values, and UV' of those above zero."""
    u, v = rotation(rows)[:, : len(values)], rotation(columns)[:, : len(values)]
    return (u * values) @ v.T, (u * (values > 0)) @ v.T


def value_and_gradient(matrix: Tensor) -> tuple[Tensor, Tensor]:
    matrix = matrix.clone().requires_grad_()
    value = nuclear_norm(matrix)
    (gradient,) = torch.autograd.grad(value.sum(), matrix)
    return value.detach(), gradient


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (6, 6), (6, 9), (9, 6), (48, 48)])
@pytest.mark.parametrize("least", [0.5, 1e-2, 1e-4, 1e-6])
def test_value_and_gradient(rows: int, columns: int, least: float) -> None:
    values = torch.linspace(0, 1, min(rows, columns), dtype=torch.float64).mul(torch.tensor(least).log()).exp()
    matrix, polar = matrix_of(values, rows, columns)
    value, gradient = value_and_gradient(matrix)
    torch.testing.assert_close(value, values.sum(), rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, polar, rtol=0, atol=1e-7)


def test_singular_values_that_repeat() -> None:
    values = torch.tensor([0.9, 0.9, 0.9, 0.2, 0.2], dtype=torch.float64)
    matrix, polar = matrix_of(values, 5, 5)
    value, gradient = value_and_gradient(matrix)
    torch.testing.assert_close(value, values.sum(), rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, polar, rtol=0, atol=1e-9)
    torch.testing.assert_close(value_and_gradient(polar)[1], polar, rtol=0, atol=1e-9)  # all are 1


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_of_zeros_the_gradient_is_the_least_of_the_subgradients(rank: int) -> None:
    values = torch.cat([torch.linspace(0.2, 0.8, rank, dtype=torch.float64), torch.zeros(7 - rank)])
    matrix, polar = matrix_of(values, 7, 7)
    value, gradient = value_and_gradient(matrix)
    torch.testing.assert_close(value, values.sum(), rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, polar, rtol=0, atol=1e-7)


def test_tiny_singular_values_count_a_part_of_what_they_should_and_no_more() -> None:
    values = torch.tensor([0.7, 1e-7, 1e-8, 1e-10, 1e-13], dtype=torch.float64)
    value, gradient = value_and_gradient(matrix_of(values, 5, 5)[0])
    torch.testing.assert_close(value, values.sum(), rtol=0, atol=1e-7)
    weights = torch.linalg.svdvals(gradient)
    assert (weights <= 1 + 1e-7).all()
    assert float(weights[0]) == pytest.approx(1)
    assert float(weights[1]) > 0.1
    assert float(weights[-1]) < 1e-3


def test_leading_dimensions_are_matrices_of_their_own() -> None:
    matrices = 0.2 * torch.randn(2, 3, 5, 4, dtype=torch.float64)
    value, gradient = value_and_gradient(matrices)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    torch.testing.assert_close(value, values.sum(-1), rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, u @ v, rtol=0, atol=1e-7)


def test_rounding_above_one_does_no_harm() -> None:
    values = torch.tensor([1 + 1e-6, 1.0, 0.5], dtype=torch.float64)
    matrix, polar = matrix_of(values, 3, 3)
    value, gradient = value_and_gradient(matrix)
    torch.testing.assert_close(value, values.sum(), rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, polar, rtol=0, atol=1e-7)


def test_gradients_against_differences() -> None:
    matrix = (0.3 * torch.randn(2, 4, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(nuclear_norm, matrix)


def test_what_is_not_finite_gives_no_number() -> None:
    matrices = 0.2 * torch.randn(3, 4, 4, dtype=torch.float64)
    matrices[0, 1, 2], matrices[1, 3, 0] = torch.nan, torch.inf
    assert nuclear_norm(matrices).isnan().tolist() == [True, True, False]
