"""Canonical correlation analysis of two views, as a loss: how much of each a linear map could read off the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from math import sqrt
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.choices import numbers_checked

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
        polar = polar_factor(matrix)
    return (polar * matrix).sum((-2, -1))


def polar_factor(matrix: Float[Tensor, "*L A B"]) -> Float[Tensor, "*L A B"]:
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

CCANorm = Literal["nuclear", "frobenius", "squared"]
"""How canonical correlations are summed up: their sum, the root of the sum of their squares, or that sum itself."""

_WELL_POSED, _TRUSTED, _ADVISED = 2, 4, 8
"""Rows that a batch needs, by the width d of the views: at least d + 2, better 4 d, advised 8 d."""

_ROUNDING = 1e-6
"""Of the mean square of a view. A variance below that may be the rounding of float32, and counts little."""


def canonical_correlations(
    a: Float[Tensor, "*L N A"], b: Float[Tensor, "*L N B"], ridge: float = 1e-3
) -> Float[Tensor, "*L C"]:
    """The canonical correlations of two views of the same N data, from the largest to the smallest.

    They are the singular values of S_aa^{-1/2} S_ab S_bb^{-1/2}, where S are the covariances. From few rows they are
    biased upwards: with N = d those of independent views are all close to 1, with N = 8 d still 0.3 in the mean. The
    scale of a view changes nothing; a view that never varies has correlations of zero.

    Computed in float64, whatever the precision around it, since covariances are inverted.

    Args:
        a: one view; leading dimensions are pairs of views that have nothing to do with each other.
        b: the other.
        ridge: r. That many times the mean variance of a view is added to the diagonal of its covariance.

    Returns:
        C = min(A, B) numbers between 0 and 1, NaN where the views are not finite.

    Raises:
        ValueError: for fewer than two rows, or a ridge that is not above zero.

    Source: Hotelling 1936, "Relations between two sets of variates"; with a ridge as in Andrew et al. 2013, "Deep
    canonical correlation analysis", where it is an absolute number.
    """
    return _singular_values(_whitened(a, b, ridge)).to(_precision(a))


def cca_loss(
    a: Float[Tensor, "*L N A"],
    b: Float[Tensor, "*L N B"],
    ridge: float = 1e-3,
    norm: CCANorm = "nuclear",
    top_k: int | None = None,
    normalised: bool = True,
) -> Float[Tensor, ""]:
    """The negative total canonical correlation of two views, to be minimised; the mean over leading dimensions.

    No device is waited for, unless by ``top_k``. Of the nuclear norm only first derivatives are right.

    Args:
        a: one view.
        b: the other.
        ridge: r. That many times the mean variance of a view is added to the diagonal of its covariance.
        norm: ``"nuclear"``, the sum of the canonical correlations ρ (the objective of Deep CCA); ``"frobenius"``,
            √Σρ²; or ``"squared"``, Σρ².
        top_k: count the largest so many alone, by default all.
        normalised: divide by the value at ρ = 1, so that the loss is between -1 and 0 whatever the width.

    Raises:
        ValueError: for an unknown norm, a ``top_k`` that is none of 1 to C, or fewer than two rows.

    Source: Andrew et al. 2013, "Deep canonical correlation analysis"; the Frobenius norms are those of public
    implementations.
    """
    _check_norm(norm)
    width = min(a.shape[-1], b.shape[-1])
    if top_k is not None and not 1 <= top_k <= width:
        raise ValueError(f"top_k: expected a number from 1 to {width}, the width of the views, got {top_k}.")
    total = _total(_whitened(a, b, ridge), norm, top_k).to(_precision(a))
    if normalised:
        count = width if top_k is None else top_k
        total = total / (count**0.5 if norm == "frobenius" else count)
    return -total.mean()


@numbers_checked
class CCALoss(nn.Module):
    """:func:`cca_loss` of batches, which knows when a batch is too small for it.

    With fewer than d + 2 rows the loss is zero and has no gradient. With fewer than 4 d rows, d the width of the views,
    it warns, once, since what it then measures is mostly chance.

    Args:
        ridge: r. That many times the mean variance of a view is added to the diagonal of its covariance.
        norm: how the correlations are summed up, as in :func:`cca_loss`.
        top_k: count the largest so many alone, by default all.

    Raises:
        ValueError: for an unknown norm, or a number below its least value.
    """

    def __init__(self, ridge: float = 1e-3, norm: CCANorm = "nuclear", top_k: int | None = None) -> None:
        super().__init__()
        if not ridge > 0:
            raise ValueError(f"ridge: expected a number above 0, got {ridge}.")
        _check_norm(norm)
        self.ridge = ridge
        self.norm: CCANorm = norm
        self.top_k = top_k
        self._has_warned = False

    def forward(self, a: Float[Tensor, "*L N A"], b: Float[Tensor, "*L N B"]) -> Float[Tensor, ""]:
        """The normalised loss, between -1 and 0."""
        rows, width = a.shape[-2], max(a.shape[-1], b.shape[-1])
        if rows < _TRUSTED * width:
            self._warn(rows, width)
        if not self.is_defined(rows, width):
            return torch.zeros((), dtype=torch.promote_types(a.dtype, torch.float32), device=a.device)
        return cca_loss(a, b, self.ridge, self.norm, self.top_k)

    @property
    def is_mean_correlation(self) -> bool:
        """Whether the loss is minus the mean of all correlations."""
        return self.norm == "nuclear" and self.top_k is None

    @staticmethod
    def is_defined(rows: int, width: int) -> bool:
        """Whether so many rows say anything about the correlation of views of this width."""
        return rows >= width + _WELL_POSED

    def _warn(self, rows: int, width: int) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        what = "are mostly chance" if self.is_defined(rows, width) else "say nothing and are left out of the loss"
        warnings.warn(
            f"canonical correlations of views of width {width} from {rows} rows that have both modalities {what}; take "
            f"batches with at least {_ADVISED * width} such rows, or narrower views.",
            stacklevel=3,
        )


def _check_norm(norm: str) -> None:
    if norm not in get_args(CCANorm):
        raise ValueError(f'norm: expected "nuclear", "frobenius" or "squared", got {norm!r}.')


def _precision(view: Tensor) -> torch.dtype:
    """Of the results: that of the views, but float32 at least."""
    return torch.promote_types(view.dtype, torch.float32)


def _total(whitened: Float[Tensor, "*L B A"], norm: CCANorm, top_k: int | None) -> Float[Tensor, "*L"]:
    if norm == "nuclear" and top_k is None:
        return nuclear_norm(whitened)
    # The squares of all entries have the same sum as those of all singular values.
    parts = whitened.flatten(-2) if top_k is None else _singular_values(whitened)[..., :top_k]
    if norm == "nuclear":
        return parts.sum(-1)
    return parts.square().sum(-1) if norm == "squared" else torch.linalg.vector_norm(parts, dim=-1)


def _singular_values(whitened: Float[Tensor, "*L B A"]) -> Float[Tensor, "*L C"]:
    """From the largest to the smallest; NaN, and no error, where the views are not finite."""
    if not bool(whitened.isfinite().all()):
        return whitened.new_full((*whitened.shape[:-2], min(whitened.shape[-2:])), torch.nan)
    return torch.linalg.svdvals(whitened)


def _whitened(a: Float[Tensor, "*L N A"], b: Float[Tensor, "*L N B"], ridge: float) -> Float[Tensor, "*L B A"]:
    """A matrix of float64 whose singular values are the canonical correlations."""
    rows = a.shape[-2]
    if rows < 2:
        raise ValueError(f"canonical correlations need at least two rows, got {rows}.")
    if not ridge > 0:
        raise ValueError(f"ridge: expected a number above 0, got {ridge}.")
    # With S = L L', the singular values of L_a^{-1} S_ab L_b^{-T} are those sought: L^{-1} and S^{-1/2} differ by a
    # rotation. Unlike the symmetric root, the factor has finite gradients where eigenvalues repeat.
    (a, factor_a), (b, factor_b) = _centred_and_factor(a, ridge), _centred_and_factor(b, ridge)
    half = torch.linalg.solve_triangular(factor_a, a.mT @ b / (rows - 1), upper=False)
    return torch.linalg.solve_triangular(factor_b, half.mT, upper=False)


def _centred_and_factor(view: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """A view without its mean, and the lower Cholesky factor of its covariance with the ridge.

    In float64, which autocast leaves alone; no error where the view is not finite.
    """
    view = view.to(torch.float64)
    centred = view - view.mean(-2, keepdim=True)
    covariance = centred.mT @ centred / (view.shape[-2] - 1)
    spread = covariance.diagonal(dim1=-2, dim2=-1).mean(-1) + _ROUNDING * view.square().mean((-2, -1))
    spread = torch.where(spread > 0, spread, 1.0)[..., None, None]  # a view of zeros has no scale
    identity = torch.eye(view.shape[-1], dtype=view.dtype, device=view.device)
    return centred, torch.linalg.cholesky_ex(covariance + ridge * spread * identity).L
