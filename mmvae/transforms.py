"""Transforms: the units in which networks see the data of a modality.

A transform warps the data and then standardises it, column by column: y = (w(x) - loc) / scale. ``fit`` of a model
finds ``loc`` and ``scale``. Of real data the transformed values are what a likelihood scores, and the log-Jacobian of
the transform makes the density one of the data in its own units. Counts and bits are scored as they are: a transform
then changes only what networks read, and for counts the value that a decoder's zero stands for. With ``scored=False``
real data is scored as it is too, and only encoders read through the transform.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.arguments import Remembers

__all__ = ["ByColumn", "Log1p", "LogNormalize", "Standardize", "Transform"]

_AT_A_TIME = 2**22
"""Numbers that are summed in float64 at a time."""

_CONSTANT = 1e-7
"""Standard deviation, relative to the size of the values, below which a column counts as constant: float32 cannot tell
its values apart."""


class Units(ABC):
    """A change of the units of single numbers, as a density needs it; every transform is one.

    Attributes:
        scale: Standard deviations by column, where it is affine.
    """

    scale: Tensor

    @property
    @abstractmethod
    def is_affine(self) -> bool:
        """Whether means and variances pass through it."""

    @abstractmethod
    def __call__(self, values: Tensor) -> Tensor:
        """The transformed values."""

    @abstractmethod
    def inverse(self, seen: Tensor) -> Tensor:
        """The values that were transformed."""

    @abstractmethod
    def log_derivative(self, values: Tensor) -> Tensor:
        """log dy/dx of each number, in nats."""


class Transform(Remembers, nn.Module, Units):
    """A warp of the data, then standardisation by column; the identity until it is fitted.

    Columns are the entries of a vector ``[P]``, the features of a sequence ``[T, C]``, and the channels of an image
    ``[C, H, W]`` or a volume. To add a transform, write :meth:`warp`, :meth:`unwarp` and :meth:`log_slope`.

    Args:
        scored: Whether a likelihood of real numbers scores the transformed values. ``False`` changes what encoders
            read and nothing else: decoder, likelihood and its scale stay in units of the data.

    Attributes:
        scored: As given.
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

    def __init__(self, scored: bool = True) -> None:
        super().__init__()
        if not isinstance(scored, bool):
            raise TypeError(f"{type(self).__name__}: scored must be True or False, got {scored!r}.")
        self.scored = scored
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
    def scored_units(self) -> Units | None:
        """What a likelihood of real numbers scores: the transform, or nothing of one that is for encoders alone."""
        return self if self.scored else None

    @property
    def is_fitted(self) -> bool:
        """Whether :meth:`fit` was called, here or before the transform was saved."""
        return self.fitted.device.type != "meta" and bool(self.fitted)

    def for_shape(self, shape: tuple[int, ...]) -> Transform:
        """Make room for the columns of data ``[N, *shape]``, and return the transform itself, not fitted."""
        columns = columns_of(shape)
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
        if self.loc.shape != columns_of(shape):
            self.for_shape(shape)
        warped = self._prepared(values, observed)
        parts = warped.split(max(1, _AT_A_TIME // max(1, math.prod(shape))))
        masks = [None] * len(parts) if observed is None else observed.split(len(parts[0]))
        pairs = [(part, None if mask is None else spread(mask, part)) for part, mask in zip(parts, masks, strict=True)]
        zero = torch.zeros(columns_of(shape), dtype=torch.float64, device=values.device)
        count = sum((_summed(torch.ones_like(part, dtype=torch.float64), mask, shape) for part, mask in pairs), zero)
        count = count.clamp(min=1)
        mean = sum((_summed(part.double(), mask, shape) for part, mask in pairs), zero) / count
        squares = (_summed((part.double() - mean).square(), mask, shape) for part, mask in pairs)
        deviation = (sum(squares, zero) / count).sqrt()
        scale = torch.where(deviation <= _CONSTANT * mean.abs(), 1.0, deviation)
        self.loc, self.scale = (
            mean.to(self.loc),
            scale.to(self.scale),
        )  # not in place: of a model made in inference mode
        self.fitted = torch.ones_like(self.fitted)

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

    Args:
        scored: Whether a likelihood of real numbers scores the standardised values; with ``False`` only encoders read
            them, which is the default of images.

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
    """log(1 + x), standardised column by column: for counts, and for positive data with long tails.

    Args:
        scored: Whether a likelihood of real numbers scores the transformed values; with ``False`` only encoders read
            them.
    """

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
            self.typical = totals.median().to(self.typical)
        if self._given is None:
            self.size = self.typical.clone()
        return super()._prepared(values, observed)


class ByColumn(Transform):
    """A transform for each column of a table ``[N, P]``.

    Args:
        columns: ``{name: transform}`` in the order of the columns; ``None`` for a column that networks see as it is.
            The transforms are not fitted by themselves; ``loc`` and ``scale`` of this one are theirs.

    Raises:
        ValueError: For no column, or :class:`LogNormalize`, which needs whole rows.
        TypeError: For something else than transforms.

    Example:
        >>> import torch
        >>> by_column = ByColumn({"price": Standardize(), "visits": Log1p(), "kind": None})
        >>> by_column.fit(torch.tensor([[1.0, 0.0, 4.0], [3.0, 9.0, 2.0]]))
        >>> by_column(torch.tensor([[3.0, 0.0, 4.0]]))
        tensor([[ 1., -1.,  4.]])
    """

    def __init__(self, columns: Mapping[str, Transform | None]) -> None:
        super().__init__()
        if not isinstance(columns, Mapping):
            raise TypeError(f"ByColumn: expected a dict from names of columns to transforms, got {columns!r}.")
        if not columns:
            raise ValueError("ByColumn: at least one column is needed.")
        for name, each in columns.items():
            if not (each is None or isinstance(each, Transform)):
                raise TypeError(f"ByColumn: {name!r} must be one of mmvae.transforms or None, got {each!r}.")
            if isinstance(each, LogNormalize | ByColumn):
                raise ValueError(f"ByColumn: {name!r} cannot have {type(each).__name__}; take Log1p().")
        self._each = tuple(columns.values())  # not registered, as their scales are here
        self._names = tuple(columns)
        self._unscored = [place for place, each in enumerate(self._each) if each is not None and not each.scored]
        self.is_affine = all(each is None or each.is_affine for each in self._each)
        kinds: dict[type, list[int]] = {}
        for place, each in enumerate(self._each):
            if not (each is None or isinstance(each, Standardize)):  # these are mere shifts and scales
                kinds.setdefault(type(each), []).append(place)
        for number, places in enumerate(kinds.values()):
            self.register_buffer(f"_warped_{number}", torch.tensor(places), persistent=False)
        self._warps = [cast("Transform", self._each[places[0]]) for places in kinds.values()]

    def for_shape(self, shape: tuple[int, ...]) -> ByColumn:
        """Make room for the columns of a table.

        Raises:
            ValueError: For data of another number of columns.
        """
        if shape != (len(self._each),):
            raise ValueError(
                f"transform ByColumn is for tables of {len(self._each)} columns ({', '.join(self._names)}), got data "
                f"of shape {shape}; name one transform, or None, for each column."
            )
        super().for_shape(shape)
        return self

    @torch.no_grad()
    def fit(self, values: Float[Tensor, "N P"], observed: Bool[Tensor, "N *cells"] | None = None) -> None:
        """Find ``loc`` and ``scale`` of the columns that have a transform, as :meth:`Transform.fit`."""
        super().fit(values, observed)
        for place, each in enumerate(self._each):
            if each is None:
                self.loc[place], self.scale[place] = 0.0, 1.0

    def warp(self, values: Tensor) -> Tensor:
        """That of each column."""
        for each, columns in self._warped():
            values = values.index_copy(-1, columns, each.warp(values.index_select(-1, columns)))
        return values

    def unwarp(self, warped: Tensor) -> Tensor:
        """That of each column."""
        for each, columns in self._warped():
            warped = warped.index_copy(-1, columns, each.unwarp(warped.index_select(-1, columns)))
        return warped

    def log_slope(self, values: Tensor) -> Tensor:
        """That of each column."""
        slopes = torch.zeros_like(values)
        for each, columns in self._warped():
            slopes = slopes.index_copy(-1, columns, each.log_slope(values.index_select(-1, columns)))
        return slopes

    def check(self, name: str, values: Tensor) -> None:
        """Each column is checked by its own."""
        for place, each in enumerate(self._each):
            if each is not None:
                each.check(f"{name}, column {self._names[place]!r}", values[:, place])

    def only(self, places: Sequence[int], columns: Bool[Tensor, "P"]) -> Units:
        """The same change of units in some of the columns, and none in the others.

        Columns whose transform is for encoders alone keep their units.

        Args:
            places: Those columns.
            columns: The same as a mask.
        """
        chosen = [each for each in (self._each[place] for place in places) if each is None or each.scored]
        if self._unscored:
            columns = columns.clone()
            columns[self._unscored] = False
        return _Some(self, columns, all(each is None or each.is_affine for each in chosen))

    @property
    def scored_units(self) -> Units:
        """What is scored of a table under one likelihood of real numbers: the columns whose transform is scored."""
        if not self._unscored:
            return self
        places = range(len(self._each))
        return self.only(places, torch.ones(len(places), dtype=torch.bool, device=self.loc.device))

    def _warped(self) -> Iterator[tuple[Transform, Tensor]]:
        """The transforms that warp, with the places of their columns."""
        for number, each in enumerate(self._warps):
            yield each, getattr(self, f"_warped_{number}")


class _Some(Units):
    """A transform in some columns, see :meth:`ByColumn.only`."""

    def __init__(self, transform: ByColumn, columns: Tensor, is_affine: bool) -> None:
        self._transform, self._columns, self._is_affine = transform, columns, is_affine
        self.scale = torch.where(columns, transform.scale, 1.0)

    @property
    def is_affine(self) -> bool:
        return self._is_affine

    def __call__(self, values: Tensor) -> Tensor:
        return torch.where(self._columns, self._transform(values), values)

    def inverse(self, seen: Tensor) -> Tensor:
        return torch.where(self._columns, self._transform.inverse(seen), seen)

    def log_derivative(self, values: Tensor) -> Tensor:
        return torch.where(self._columns, self._transform.log_derivative(values), 0.0)


def spread(mask: Bool[Tensor, "N *cells"], values: Tensor) -> Bool[Tensor, "N *shape"]:
    """A mask of rows, of steps or of single numbers as one of every number of ``values``."""
    return mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim)).expand_as(values)


def columns_of(shape: tuple[int, ...]) -> torch.Size:
    """The shape of one number for each column of data ``[N, *shape]``, which broadcasts with the data.

    Columns are the entries of a vector, the features of a sequence, the channels of images and volumes.
    """
    if len(shape) <= 1:
        return torch.Size(shape)
    return torch.Size(shape[-1:]) if len(shape) == 2 else torch.Size((shape[0], *(1,) * (len(shape) - 1)))


def _summed(values: Tensor, mask: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """The sums over each column, where the mask is true."""
    if mask is not None:
        values = torch.where(mask, values, 0.0)
    return values.sum_to_size(columns_of(shape))
