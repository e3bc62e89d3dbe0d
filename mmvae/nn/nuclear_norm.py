"""The sum of singular values and its gradient, by products and Cholesky factors: no device is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

_LEAST = 1e-6
"""Singular values from here to 1 count in full in the gradient; those below count less, and zeros do not count."""

_STEPS = 4
"""After which such singular values are 1 to ten digits."""


def nuclear_norm(matrix: Float[Tensor, "*L A B"]) -> Float[Tensor, "*L"]:
    """The sum of the singular values of matrices of float64, none of which is above 1.

    It is the largest ⟨P, X⟩ over all P whose singular values are no more than 1, and its gradient is the P at which it
    is reached: the polar factor UV' of X = USV', or, where singular values are zero, the least of the subgradients.
    A decomposition would give the same, and costs as much on a CPU; but for one a GPU is waited for. Only first
    derivatives are right: P counts as constant.
    """
    with torch.no_grad():
        polar = _polar_factor(matrix)
    return (polar * matrix).sum((-2, -1))


def _polar_factor(matrix: Float[Tensor, "*L A B"]) -> Float[Tensor, "*L A B"]:
    """UV' of X = USV', singular values far below ``_LEAST`` left near zero; NaN where X is not finite.

    Each step takes all singular values x to x (a + b x²) / (1 + c x²), that is X to X (a I + b X'X) (I + c X'X)^{-1}.

    Source: Nakatsukasa, Bai and Gygi 2010, "Optimizing Halley's iteration for computing the matrix polar
    decomposition"; with Cholesky factors as in Nakatsukasa and Higham 2013.
    """
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for a, b, c in _WEIGHTS:
        factor = torch.linalg.cholesky_ex(identity + c * (matrix.mT @ matrix)).L
        half = torch.linalg.solve_triangular(factor, matrix.mT, upper=False)
        solved = torch.linalg.solve_triangular(factor.mT, half, upper=True).mT
        matrix = (b / c) * matrix + (a - b / c) * solved
    return matrix


def _halley_weights(least: float, steps: int) -> Iterator[tuple[float, float, float]]:
    """The a, b and c of each step, which bring all of [least, 1] as near to 1 as such functions can."""
    for _ in range(steps):
        square = least * least
        d = (4 * (1 - square) / square**2) ** (1 / 3)
        a = sqrt(1 + d) + sqrt(8 - 4 * d + 8 * (2 - square) / (square * sqrt(1 + d))) / 2
        b = (a - 1) ** 2 / 4
        c = a + b - 1
        yield a, b, c
        least *= (a + b * square) / (1 + c * square)


_WEIGHTS = tuple(_halley_weights(_LEAST, _STEPS))
