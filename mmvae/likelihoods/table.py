"""A table whose columns have likelihoods of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.casting import narrowed
from mmvae.distributions import ByColumn
from mmvae.likelihoods.base import Likelihood, require
from mmvae.likelihoods.categorical import Categorical
from mmvae.transforms import ByColumn as ByColumnTransform
from mmvae.transforms import Transform, Units

_MOST_NAMES = 5
"""Columns that are named in a sentence."""


class Columns(Likelihood):
    """A table ``[N, P]`` of mixed types: one likelihood for each column.

    Data is one float32 tensor, in which codes stand as numbers, 0 to K - 1. The decoder gives the parameters of one
    column after the other, ``[..., total]``: one of :class:`Normal`, K of ``Categorical(K)``, two of
    :class:`NegativeBinomial`.

    Args:
        columns: ``{name: likelihood}`` in the order of the columns.

    Attributes:
        names: Names of the columns.
        categories: Number of categories of each column, ``None`` for a column of numbers.

    Raises:
        ValueError: For no column, or a likelihood that needs more than its column (a size factor from the totals of
            rows, a placeholder from other rows).
        TypeError: For something that is not a dict of likelihoods.

    Example:
        >>> from mmvae.likelihoods import Categorical, NegativeBinomial, Normal
        >>> table = Columns({"price": Normal(), "kind": Categorical(5), "visits": NegativeBinomial()})
        >>> table.parameter_shape((3,))
        (8,)
    """

    def __init__(self, columns: Mapping[str, Likelihood]) -> None:
        super().__init__()
        _check_columns(columns)
        each = list(columns.values())
        self.names = tuple(columns)
        self.categories = tuple(one.num_categories if isinstance(one, Categorical) else None for one in each)
        widths = [math.prod(one.parameter_shape(())) for one in each]
        starts = [sum(widths[:place]) for place in range(len(widths))]
        self._total = sum(widths)
        groups: dict[object, list[int]] = {}
        for place, one in enumerate(each):
            groups.setdefault(_alike(one), []).append(place)
        self.groups = nn.ModuleList([each[places[0]].of_columns(len(places)) for places in groups.values()])
        self._defaults = {name: one.default_transform(()) for name, one in columns.items()}
        for number, places in enumerate(groups.values()):
            read = [starts[place] + offset for place in places for offset in range(widths[place])]
            self.register_buffer(f"_columns_{number}", torch.tensor(places), persistent=False)
            self.register_buffer(f"_read_{number}", torch.tensor(read), persistent=False)
        scored = [one.scores_transformed for one in each]
        self.scores_transformed = any(scored)
        self._scored_places = [place for place, is_scored in enumerate(scored) if is_scored]
        self.register_buffer("_scored", torch.tensor(scored), persistent=False)
        holes = [float(cast("float", one.hole)) for one in each]
        self._has_holes = any(holes)
        self.register_buffer("_holes", torch.tensor(holes), persistent=False)

    _scored: Tensor
    _holes: Tensor

    @property
    def hole(self) -> float | Tensor | None:  # type: ignore[override]
        """Placeholder for missing values: 0, or one for each column."""
        return self._holes if self._has_holes else 0.0

    def forward(self, parameters: Tensor) -> Distribution:
        """The columns of ``parameters [..., total]``, each by itself."""
        parts = [likelihood(self._read(number, parameters)) for number, likelihood in enumerate(self._groups)]
        return ByColumn(parts, [self._places(number) for number in range(len(parts))])

    def for_shape(self, shape: tuple[int, ...]) -> Likelihood:
        """The likelihood itself, for data of as many columns as there are likelihoods.

        Raises:
            ValueError: For data of another shape.
        """
        if tuple(shape) != (len(self.names),):
            raise ValueError(
                f"Columns has {len(self.names)} likelihoods ({', '.join(self.names)}), so it needs data of shape "
                f"({len(self.names)},), got {tuple(shape)}; name one for each column."
            )
        return self

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(total,)``."""
        return (self._total,)

    def scored(self, transform: Transform) -> Units | None:
        """The transforms of those columns whose transformed values are scored."""
        if not self.scores_transformed or not isinstance(transform, ByColumnTransform):
            return None
        return transform.only(self._scored_places, self._scored)

    def point(self, distribution: Distribution) -> Tensor:
        """The point of each column, ``[..., P]``."""
        table = _by_column(distribution)
        points = iter([each.point(part) for each, part in zip(self._groups, table.parts, strict=True)])
        return table.collected(lambda _: next(points))

    def agreed(self, points: Tensor, distribution: Distribution) -> Tensor:
        """Of each column, as its likelihood says."""
        table, found = _by_column(distribution), points.mean(0)
        for likelihood, part, columns in zip(self._groups, table.parts, table.columns, strict=True):
            own = likelihood.agreed(points.index_select(-1, columns), part)
            found = found.index_copy(-1, columns, own.to(found.dtype))
        return found

    @property
    def is_ordered(self) -> Tensor:
        """By column: categories are not."""
        return torch.tensor([count is None for count in self.categories], device=self._scored.device)

    def default_transform(self, shape: tuple[int, ...]) -> Transform | None:
        """Each column as its likelihood says."""
        return ByColumnTransform(self._defaults) if any(self._defaults.values()) else None

    def around(self, parameters: Tensor, centre: Tensor) -> Tensor:
        """Each column as its likelihood says."""
        for number, likelihood in enumerate(self._groups):
            if not likelihood.scores_transformed:
                of_group = centre.expand(len(self.names))[self._places(number)]
                moved = likelihood.around(self._read(number, parameters), of_group)
                read = getattr(self, f"_read_{number}")
                parameters = parameters.index_copy(-1, read, moved.reshape(*parameters.shape[:-1], len(read)))
        return parameters

    def conform(self, name: str, data: Tensor) -> Tensor:
        """The table as float32, each column checked by its likelihood."""
        if data.ndim != 2 or data.shape[1] != len(self.names):
            raise ValueError(f"{name}: expected a table [N, {len(self.names)}], got {tuple(data.shape)}.")
        table = narrowed(name, data, torch.float32)
        for number, likelihood in enumerate(self._groups):
            for place in self._places(number).tolist():
                check_column(f"{name}, column {self.names[place]!r}", table[:, place], likelihood)
        return table

    def kinds(self) -> Iterator[tuple[type, list[int]]]:
        """The likelihoods that there are, each with the places of its columns."""
        for number, likelihood in enumerate(self._groups):
            yield type(likelihood), self._places(number).tolist()

    def words(self) -> str:
        """Which columns have which likelihood, as a clause for a reader."""
        columns: dict[str, list[str]] = {}
        for name, count, place in zip(self.names, self.categories, self._group_of_each(), strict=True):
            kind = type(self._groups[place]).__name__
            columns.setdefault(kind if count is None else f"{kind}({count})", []).append(repr(name))
        return "; ".join(f"{kind} for {', '.join(_shortened(names))}" for kind, names in columns.items())

    def _group_of_each(self) -> list[int]:
        """By column the number of its group."""
        found = {place: number for number in range(len(self._groups)) for place in self._places(number).tolist()}
        return [found[place] for place in range(len(self.names))]

    @property
    def _groups(self) -> list[Likelihood]:
        return [cast("Likelihood", each) for each in self.groups]

    def _places(self, number: int) -> Tensor:
        return cast("Tensor", getattr(self, f"_columns_{number}"))

    def _read(self, number: int, parameters: Tensor) -> Tensor:
        """The parameters of a group of n columns, ``[..., *parameter_shape of (n,)]``."""
        own = parameters.index_select(-1, getattr(self, f"_read_{number}"))
        return own.reshape(*parameters.shape[:-1], *self._groups[number].parameter_shape((len(self._places(number)),)))


def check_column(name: str, values: Tensor, likelihood: Likelihood) -> None:
    """Check one column of a table, in which codes stand as real numbers.

    Args:
        name: Of the column, for errors.
        values: Real numbers ``[N]``, none of them missing.
        likelihood: Of the column.

    Raises:
        ValueError: For a value that the likelihood cannot score.
    """
    if likelihood.data_dtype.is_floating_point:
        likelihood.conform(name, values)
        return
    require(name, values, values == values.round(), f"{type(likelihood).__name__} scores whole numbers")
    likelihood.conform(name, values.to(likelihood.data_dtype))


def look_like_counts(least: float, most: float) -> bool:
    """Whether whole numbers between these two look like counts.

    None is negative, and the smallest is at most half of the largest. Years do not look like counts.
    """
    return least >= 0 and most > 0 and least <= most / 2


def _shortened(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST_NAMES else [*names[:_MOST_NAMES], f"{len(names) - _MOST_NAMES} more"]


def _by_column(distribution: Distribution) -> ByColumn:
    while not isinstance(distribution, ByColumn):
        distribution = cast("Any", distribution).base_dist
    return distribution


def _check_columns(columns: object) -> None:
    if not isinstance(columns, Mapping):
        raise TypeError(f"Columns: expected a dict from names of columns to likelihoods, got {columns!r}.")
    if not columns:
        raise ValueError("Columns: at least one column is needed.")
    for name, each in columns.items():
        if not isinstance(name, str):
            raise TypeError(f"Columns: names of columns are strings, got {name!r}.")
        if not isinstance(each, Likelihood) or isinstance(each, Columns):
            raise TypeError(f"Columns: {name!r} must be a likelihood of one column, got {each!r}.")
        if each.hole is None:
            raise ValueError(
                f"Columns: {name!r} has a likelihood without a placeholder for missing values; write a Likelihood with "
                f"a value that it can score as its hole."
            )
        if each.library is not None:
            raise ValueError(
                f"Columns: {name!r} has library={each.library!r}, and a column has no total; make the counts a "
                f"modality of their own."
            )


def _alike(likelihood: Likelihood) -> object:
    """A key that likelihoods share which may be computed together."""
    if not type(likelihood).__module__.startswith(__package__):
        return id(likelihood)
    words = [(k, _alike(v) if isinstance(v, Likelihood) else repr(v)) for k, v in sorted(likelihood.arguments.items())]
    return type(likelihood), tuple(words)
