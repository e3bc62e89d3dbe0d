"""Transforms: the units in which networks see the data of a modality.

A transform warps the data and then standardises it, column by column: y = (w(x) - loc) / scale. ``fit`` of a model
finds ``loc`` and ``scale``. Of real data the transformed values are what a likelihood scores, and the log-Jacobian of
the transform makes the density one of the data in its own units. Counts and bits are scored as they are: a transform
then changes only what networks read, and for counts the value that a decoder's zero stands for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.arguments import Remembers

__all__ = ["Log1p", "LogNormalize", "Standardize", "Transform"]

_AT_A_TIME = 2**22
"""Numbers that are summed in float64 at a time."""

_CONSTANT = 1e-7
"""Standard deviation, relative to the size of the values, below which a column counts as constant: float32 cannot tell
its values apart."""


class Transform(Remembers, nn.Module, ABC):
    """A warp of the data, then standardisation by column; the identity until it is fitted.

    Columns are the entries of a vector ``[P]``, the features of a sequence ``[T, C]``, and the channels of an image
    ``[C, H, W]`` or a volume. To add a transform, write :meth:`warp`, :meth:`unwarp` and :meth:`log_slope`.

    Attributes:
        has_density: Whether it has an inverse, so that a density of what networks see is one of the data.
        is_affine: Whether means and variances pass through it.
        loc: Means of the warped columns, of a shape that broadcasts with the data.
        scale: Their standard deviations; 1 for constant columns.
        fitted: Whether :meth:`fit` was called, a scalar buffer.
    """

    has_density: bool = True
    is_affine: bool = False
    loc: Tensor
    scale: Tensor
    fitted: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    # What a transform must say.

    @abstractmethod
    def warp(self, values: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """w(x), of the shape of ``values``."""

    @abstractmethod
    def unwarp(self, warped: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """The inverse of w, or what stands for it (see :attr:`has_density`)."""

    @abstractmethod
    def log_slope(self, values: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """log dw/dx of each number, in nats."""

    def check(self, name: str, values: Tensor) -> None:
        """Raise ``ValueError`` for data of modality ``name`` that w does not take."""

    # What it then can do.

    @property
    def is_fitted(self) -> bool:
        """Whether :meth:`fit` was called, here or before the transform was saved."""
        return self.fitted.device.type != "meta" and bool(self.fitted)

    def for_shape(self, shape: tuple[int, ...]) -> Transform:
        """Make room for the columns of data ``[N, *shape]``, and return the transform itself, not fitted."""
        columns = _columns(shape)
        self.loc, self.scale = self.loc.new_zeros(columns), self.scale.new_ones(columns)
        self.fitted = torch.zeros_like(self.fitted)
        return self

    @torch.no_grad()
    def fit(self, values: Float[Tensor, "N *shape"], observed: Bool[Tensor, "N *cells"] | None = None) -> None:
        """Find ``loc`` and ``scale``: mean and standard deviation of each column of the warped data.

        Args:
            values: Data of N rows.
            observed: Where it is present: bool ``[N]`` for rows, or with further dimensions of the data for parts of
                rows. Columns without any value keep mean 0 and scale 1.
        """
        shape = tuple(values.shape[1:])
        if self.loc.shape != _columns(shape):
            self.for_shape(shape)
        warped = self._prepared(values, observed)
        parts = warped.split(max(1, _AT_A_TIME // max(1, math.prod(shape))))
        masks = [None] * len(parts) if observed is None else observed.split(len(parts[0]))
        pairs = [(part, None if mask is None else spread(mask, part)) for part, mask in zip(parts, masks, strict=True)]
        zero = torch.zeros(_columns(shape), dtype=torch.float64, device=values.device)
        count = sum((_summed(torch.ones_like(part, dtype=torch.float64), mask, shape) for part, mask in pairs), zero)
        count = count.clamp(min=1)
        mean = sum((_summed(part.double(), mask, shape) for part, mask in pairs), zero) / count
        squares = (_summed((part.double() - mean).square(), mask, shape) for part, mask in pairs)
        deviation = (sum(squares, zero) / count).sqrt()
        self.loc.copy_(mean)
        self.scale.copy_(torch.where(deviation <= _CONSTANT * mean.abs(), 1.0, deviation))
        self.fitted.fill_(True)

    def forward(self, values: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """What networks see, of the shape of ``values``."""
        return (self.warp(values) - self.loc) / self.scale

    def inverse(self, seen: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """The data that a network's values stand for."""
        return self.unwarp(seen * self.scale + self.loc)

    def log_derivative(self, values: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """log dy/dx of each number, in nats."""
        return self.log_slope(values) - self.scale.log()

    def log_jacobian(
        self, values: Float[Tensor, "N *shape"], observed: Bool[Tensor, "N *cells"] | None = None
    ) -> Float[Tensor, "N"]:
        """log |dy/dx| of each row, in nats: the sum over its numbers, or over those that are observed.

        Args:
            values: Data of N rows.
            observed: As of :meth:`fit`.
        """
        each = self.log_derivative(values)
        if observed is not None:
            each = torch.where(spread(observed, each), each, 0.0)
        return each.reshape(len(values), -1).sum(1)

    @property
    def centre(self) -> Tensor:
        """The data that zero stands for, by column."""
        return self.inverse(torch.zeros_like(self.loc))

    def _prepared(self, values: Tensor, observed: Tensor | None) -> Tensor:
        """The warped data, on whose columns ``loc`` and ``scale`` are found."""
        return self.warp(values if values.is_floating_point() else values.float())


class Standardize(Transform):
    """(x - mean) / standard deviation, column by column.

    Example:
        >>> import torch
        >>> standardize = Standardize()
        >>> standardize.fit(torch.tensor([[1.0, 100.0], [3.0, 300.0]]))
        >>> standardize(torch.tensor([[3.0, 100.0]]))
        tensor([[ 1., -1.]])
    """

    is_affine = True

    def warp(self, values: Tensor) -> Tensor:
        """The values as they are."""
        return values

    def unwarp(self, warped: Tensor) -> Tensor:
        """The values as they are."""
        return warped

    def log_slope(self, values: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(values)


class Log1p(Transform):
    """log(1 + x), standardised column by column: for counts, and for positive data with long tails."""

    def warp(self, values: Tensor) -> Tensor:
        """log(1 + x)."""
        return values.log1p()

    def unwarp(self, warped: Tensor) -> Tensor:
        """exp(y) - 1."""
        return warped.expm1()

    def log_slope(self, values: Tensor) -> Tensor:
        """-log(1 + x)."""
        return -values.log1p()

    def check(self, name: str, values: Tensor) -> None:
        """Values must lie above -1."""
        if not bool((values > -1).all()):
            least = float(values.min())
            raise ValueError(
                f"{name}: the transform Log1p takes values above -1, got {least:g}; take transforms.Standardize()."
            )


class LogNormalize(Transform):
    """log(1 + size x / total), with the total of each row, standardised column by column: for sequencing counts.

    The total of a row is lost on the way, so there is no density: it is for likelihoods of counts, whose encoders then
    see composition instead of depth.

    Args:
        size: Total that every row is brought to; by default the median of the totals of the training data.

    Attributes:
        size: That total, a scalar buffer.
        typical: Median of the totals of the training data, a scalar buffer.

    Raises:
        ValueError: For a size that is not above zero.

    Source: ``normalize_total`` and ``log1p`` of scanpy (Wolf et al. 2018).
    """

    has_density = False
    size: Tensor
    typical: Tensor

    def __init__(self, size: float | None = None) -> None:
        super().__init__()
        if size is not None and not 0 < size < math.inf:
            raise ValueError(f"LogNormalize: size must be a finite number above 0, got {size!r}.")
        self._given = size
        self.register_buffer("size", torch.tensor(1.0 if size is None else float(size)))
        self.register_buffer("typical", torch.tensor(1.0 if size is None else float(size)))

    def warp(self, values: Tensor) -> Tensor:
        """log(1 + size x / total); rows without any count stay zero."""
        total = values.reshape(len(values), -1).sum(1).reshape(-1, *(1,) * (values.ndim - 1))
        return (values * (self.size / total.clamp(min=1e-12))).log1p()

    def unwarp(self, warped: Tensor) -> Tensor:
        """The counts of a row of the typical total."""
        return warped.expm1() * (self.typical / self.size)

    def log_slope(self, values: Tensor) -> Tensor:
        """Not available: rows of different totals become one."""
        raise NotImplementedError("LogNormalize has no density; pair it with a likelihood of counts.")

    def check(self, name: str, values: Tensor) -> None:
        """Values must not be negative."""
        if not bool((values >= 0).all()):
            raise ValueError(
                f"{name}: the transform LogNormalize takes counts, got {float(values.min()):g}; take "
                f"transforms.Standardize()."
            )

    def _prepared(self, values: Tensor, observed: Tensor | None) -> Tensor:
        totals = values.double() if observed is None else torch.where(spread(observed, values), values.double(), 0.0)
        totals = totals.reshape(len(values), -1).sum(1)
        totals = totals[totals > 0]
        if len(totals):
            self.typical.fill_(float(totals.median()))
        if self._given is None:
            self.size.copy_(self.typical)
        return super()._prepared(values, observed)


def spread(mask: Bool[Tensor, "N *cells"], values: Tensor) -> Bool[Tensor, "N *shape"]:
    """A mask of rows, of steps or of single numbers as one of every number of ``values``."""
    return mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim)).expand_as(values)


def _columns(shape: tuple[int, ...]) -> torch.Size:
    """The shape of one number for each column of data ``[N, *shape]``."""
    if len(shape) <= 1:
        return torch.Size(shape)
    return torch.Size(shape[-1:]) if len(shape) == 2 else torch.Size((shape[0], *(1,) * (len(shape) - 1)))


def _summed(values: Tensor, mask: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """The sums over each column, where the mask is true."""
    if mask is not None:
        values = torch.where(mask, values, 0.0)
    return values.sum_to_size(_columns(shape))
