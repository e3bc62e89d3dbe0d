"""Likelihoods: from decoder output to a Pyro distribution over the data of one modality.

Where a distribution has several parameters for each number of the data (the logits of a category, say), they stand on
the last axis of the decoder's output: ``parameter_shape = (*shape, how_many)``.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, cast

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.casting import narrowed
from mmvae.choices import check_choice
from mmvae.distributions import (
    ByColumn,
    LogitContinuousBernoulli,
    LogNegativeBinomial,
    LogPoisson,
    SharedScaleLaplace,
    SharedScaleNormal,
    at_least_float32,
    soft_clamp,
    without_autocast,
)
from mmvae.transforms import ByColumn as ByColumnTransform
from mmvae.transforms import Log1p, LogNormalize, Standardize, Transform, Units, columns_of

__all__ = [
    "Bernoulli",
    "Categorical",
    "Columns",
    "ContinuousBernoulli",
    "Custom",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "ZeroInflated",
    "as_likelihood",
]

_SCALE_FLOOR = 1e-3
_LOG_BOUNDS = (-20.0, 20.0)
"""Within which logarithms of rates, dispersions and learned scales are taken as they are (see :func:`soft_clamp`)."""

_LONGEST_STANDARDISED = 2
"""Dimensions of a row up to which real data is standardised by default: vectors and sequences, not images."""

OBSERVED = "observed"
"""Library of counts whose size factor is the total of the row."""

_LEAST_CENTRE = 1e-4
"""Smallest mean count that a decoder's zero stands for, of columns that are (nearly) always zero."""

_MOST_NAMES = 5
"""Columns that are named in a sentence."""


class Likelihood(Remembers, nn.Module, ABC):
    """What a decoder's output means: a distribution, what data it can score, and its best single guess.

    Called with a decoder's output, it computes the distribution from at least float32, whatever the precision around
    it: under autocast the network rounds to half precision, the density does not.
    """

    data_dtype: torch.dtype = torch.float32
    """The type in which data of this likelihood is kept."""

    hole: float | Tensor | None = 0.0
    """Placeholder for missing values, masked, with a finite density, or one for each column. A likelihood of positive
    data sets another one; ``None`` takes an observed value of the same modality."""

    scores_transformed: bool = True
    """Whether a transform of the modality changes what is scored, as it does real numbers. What is counted, and values
    in a fixed interval, are scored as they are, and a transform is for networks alone."""

    library: str | None = None
    """Size factor by which expected counts grow: ``"observed"``, the total count of the row, or the name of a
    covariate; ``None`` for none."""

    def __call__(self, parameters: Tensor) -> Any:
        """:meth:`forward` of parameters in at least float32, outside of autocast."""
        with without_autocast(parameters):
            return super().__call__(at_least_float32(parameters))

    @abstractmethod
    def forward(self, parameters: Tensor) -> Distribution:
        """The distribution of the data, one independent element for each number of the datum.

        Args:
            parameters: ``[..., *parameter_shape]``.

        Returns:
            A distribution of batch shape ``[..., *shape]``, the last dimensions being those of the datum.
        """

    def log_prob(self, parameters: Tensor, data: Tensor, observed: Tensor | None = None) -> Tensor:
        """The log-density or log-probability of each row, ``[*P, N]``, in nats.

        Args:
            parameters: Output of the decoder, ``[*P, N, *parameter_shape]``.
            data: ``[N, *shape]``.
            observed: Numbers that the sum over a row takes, bool ``[N, *shape]``; by default all.
        """
        distribution = self(parameters)
        if observed is not None:
            distribution = distribution.mask(observed)
        return distribution.to_event(data.ndim - 1 - len(distribution.event_shape)).log_prob(data)

    def for_shape(self, shape: tuple[int, ...]) -> Likelihood:
        """Make room for parameters that each column of data ``[N, *shape]`` has, and return the likelihood itself.

        Models call it before anything else. By default there are no such parameters.
        """
        return self

    def of_columns(self, count: int) -> Likelihood:
        """One likelihood for several columns like this one, of data ``[N, count]``."""
        return copy.deepcopy(self).for_shape((count,))

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the decoder's output for a datum of ``shape``."""
        return shape

    def scored(self, transform: Transform) -> Units | None:
        """What of a transform changes the data that is scored; ``None`` if it is for networks alone."""
        return transform if self.scores_transformed else None

    def point(self, distribution: Distribution) -> Tensor:
        """The single datum that stands for a distribution: its mean, or its most probable code."""
        return distribution.mean

    def agreed(self, points: Tensor, distribution: Distribution) -> Tensor:
        """The point that stands for a mixture of K distributions: the mean of their points, or the most probable code.

        Args:
            points: Their points, ``[K, N, *shape]``, in units of the data.
            distribution: The distributions, of batch shape ``[K, N]``, in units of the transformed data.
        """
        return points.mean(0)

    @property
    def is_ordered(self) -> bool | Tensor:
        """Whether values have an order, which codes lack; one for all, or bool ``[P]``."""
        return True

    def default_transform(self, shape: tuple[int, ...]) -> Transform | None:
        """The transform of a modality of data ``[N, *shape]`` that names none; by default none."""
        return None

    def around(self, parameters: Tensor, centre: Tensor) -> Tensor:
        """Parameters of data that lie around ``centre``, from those that a decoder gives relative to it.

        Only for what is scored as it is (see :attr:`scores_transformed`); by default the parameters stay.

        Args:
            parameters: ``[..., *parameter_shape]``.
            centre: Value that a decoder's zero stands for, by column of the data, or for each number of N rows.
        """
        return parameters

    def check_support(self, name: str, data: Tensor) -> None:
        """Raises ``ValueError`` if the data of modality ``name`` holds a value that cannot be scored."""

    def conform(self, name: str, data: Tensor) -> Tensor:
        """``data`` in this likelihood's data type, after a check of its type and values.

        Raises:
            TypeError: if integers come where real numbers are expected, or the other way round.
            ValueError: if a value has no density or probability under this likelihood.
        """
        if self.data_dtype.is_floating_point and not data.is_floating_point():
            raise TypeError(
                f"{name}: {type(self).__name__} scores real numbers, got {data.dtype}; convert, for images with "
                f"x.float() / 255."
            )
        return self._cast(name, data)

    def _cast(self, name: str, data: Tensor) -> Tensor:
        """The data in this likelihood's type, checked there: a narrower type may not hold the bounds of the support."""
        data = narrowed(name, data, self.data_dtype)
        self.check_support(name, data)
        return data


class _LocationScale(Likelihood):
    """A decoder that gives the location; the scale is one for the whole modality or for each column."""

    noise: type[SharedScaleNormal] | type[SharedScaleLaplace]
    family: type[dist.Normal] | type[dist.Laplace]

    def __init__(self, scale: float | Literal["learned", "by_feature"] = 1.0) -> None:
        super().__init__()
        self.learned = scale in ("learned", "by_feature")
        self.is_by_feature = scale == "by_feature"
        if self.learned:
            self.log_scale = nn.Parameter(torch.zeros(()))
            return
        if isinstance(scale, str) or not 0 < scale < float("inf"):
            raise ValueError(
                f'{type(self).__name__}: scale must be a finite number above 0, "learned" or "by_feature", got '
                f"{scale!r}."
            )
        self._fixed = float(scale)
        self.register_buffer("fixed_scale", torch.tensor(self._fixed), persistent=False)

    @property
    def scale(self) -> Tensor:
        """The scale in the units of the transformed data, a number or one for each column; a learned one stays above
        0.001."""
        if not self.learned:
            return self.fixed_scale
        return soft_clamp(self.log_scale, *_LOG_BOUNDS).exp() + _SCALE_FLOOR

    def for_shape(self, shape: tuple[int, ...]) -> Likelihood:
        """A scale for each column, if that is what was asked for."""
        if self.is_by_feature:
            self.log_scale = nn.Parameter(self.log_scale.new_zeros(columns_of(shape)))
        return self

    def of_columns(self, count: int) -> Likelihood:
        """Learned scales stay one for each column."""
        made = type(self)("by_feature") if self.learned else copy.deepcopy(self)
        return made.for_shape((count,))

    def default_transform(self, shape: tuple[int, ...]) -> Transform | None:
        """Vectors ``[P]`` and sequences ``[T, C]`` are standardised; images are taken as they are."""
        return Standardize() if len(shape) <= _LONGEST_STANDARDISED else None

    def forward(self, parameters: Tensor) -> Distribution:
        """Noise around ``parameters [..., *shape]``."""
        return (self.family if self.is_by_feature else self.noise)(parameters, self.scale)

    def log_prob(self, parameters: Tensor, data: Tensor, observed: Tensor | None = None) -> Tensor:
        """The log-density of each row, without making a distribution unless arguments are checked."""
        if Distribution._validate_args or observed is not None or self.is_by_feature:
            return super().log_prob(parameters, data, observed)
        with without_autocast(parameters):
            scale = self.scale if self.learned else self._fixed  # a number, from which less is computed
            return self.noise.score(data, at_least_float32(parameters), scale, data.ndim - 1)


class Normal(_LocationScale):
    """Gaussian noise around the decoder's output.

    Args:
        scale: the standard deviation, in units of the transformed data; ``"learned"`` for one that is learned, or
            ``"by_feature"`` for one that is learned for each column (of images: each channel). A modality of vectors is
            standardised by default: the unit is then the standard deviation of each column. Pass
            ``Modality(..., transform=None)`` for units of the data.
    """

    noise, family = SharedScaleNormal, dist.Normal


class Laplace(_LocationScale):
    """Laplace noise around the decoder's output; the field's usual choice for images is a scale of 0.75.

    Args:
        scale: the scale b of exp(-|x - loc| / b) / 2b, in the units of :class:`Normal`; ``"learned"`` or
            ``"by_feature"`` as there.
    """

    noise, family = SharedScaleLaplace, dist.Laplace


class Bernoulli(Likelihood):
    """Binary data; the decoder gives logits.

    Args:
        relaxed: score values between 0 and 1 too, by the cross-entropy. That is no normalised density
            (:class:`ContinuousBernoulli` is), so likelihoods in nats then lose their meaning.
    """

    scores_transformed = False

    def __init__(self, relaxed: bool = False) -> None:
        super().__init__()
        self.relaxed = relaxed

    def forward(self, parameters: Tensor) -> Distribution:
        """A Bernoulli of logits ``parameters [..., *shape]``."""
        return dist.Bernoulli(logits=parameters, validate_args=False if self.relaxed else None)

    def conform(self, name: str, data: Tensor) -> Tensor:
        """Booleans, integers and real numbers alike, as long as they are 0 or 1 (or between, if relaxed)."""
        return self._cast(name, data)

    def check_support(self, name: str, data: Tensor) -> None:
        """Values must be 0 or 1; between them, if relaxed."""
        if self.relaxed:
            _require(name, data, (data >= 0) & (data <= 1), "Bernoulli(relaxed=True) scores values from 0 to 1")
            return
        between = (data > 0) & (data < 1)
        hint = "; for grey levels use ContinuousBernoulli, or Bernoulli(relaxed=True)" if bool(between.any()) else ""
        _require(name, data, (data == 0) | (data == 1), "Bernoulli scores 0 and 1" + hint)


class ContinuousBernoulli(Likelihood):
    """Values in [0, 1], such as grey levels; the decoder gives logits.

    Source: Loaiza-Ganem and Cunningham 2019, "The continuous Bernoulli".
    """

    scores_transformed = False

    def forward(self, parameters: Tensor) -> Distribution:
        """A continuous Bernoulli of logits ``parameters [..., *shape]``."""
        return LogitContinuousBernoulli(logits=parameters)

    def check_support(self, name: str, data: Tensor) -> None:
        """Values must lie in [0, 1]."""
        _require(name, data, (data >= 0) & (data <= 1), "ContinuousBernoulli scores values from 0 to 1")


class Categorical(Likelihood):
    """Integer codes from 0 to ``num_categories - 1``; the decoder gives logits ``[..., *shape, num_categories]``."""

    data_dtype = torch.int64
    scores_transformed = False

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        self.num_categories = int(num_categories)

    def forward(self, parameters: Tensor) -> Distribution:
        """A categorical distribution of logits ``parameters [..., *shape, num_categories]``."""
        return dist.Categorical(logits=parameters.log_softmax(-1))  # which large logits do not round

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(*shape, num_categories)``."""
        return (*shape, self.num_categories)

    def point(self, distribution: Distribution) -> Tensor:
        """The most probable code at each place, int64."""
        return distribution.mode

    def agreed(self, points: Tensor, distribution: Distribution) -> Tensor:
        """The code that is the most probable in the mixture, int64."""
        while not isinstance(distribution, dist.Categorical):
            distribution = cast("Any", distribution).base_dist
        return distribution.probs.mean(0).argmax(-1)

    @property
    def is_ordered(self) -> bool:
        """They have not."""
        return False

    def conform(self, name: str, data: Tensor) -> Tensor:
        """Integer codes as int64; one-hot or real-valued data is refused."""
        if data.is_floating_point() or data.dtype == torch.bool:
            raise TypeError(
                f"{name}: Categorical scores integer codes, got {data.dtype}; convert one-hot data with "
                f"x.argmax(-1), whole numbers with x.long()."
            )
        return self._cast(name, data)

    def check_support(self, name: str, data: Tensor) -> None:
        """Codes must lie in 0 .. num_categories - 1."""
        inside = (data >= 0) & (data < self.num_categories)
        _require(name, data, inside, f"Categorical({self.num_categories}) scores codes 0 to {self.num_categories - 1}")


class _Counts(Likelihood):
    """Whole numbers from 0, given as integers or as real numbers without a fraction."""

    scores_transformed = False

    def __init__(self, library: str | None = None) -> None:
        super().__init__()
        if not (library is None or isinstance(library, str)):
            raise TypeError(
                f'{type(self).__name__}: library must be "observed", the name of a covariate or None, got {library!r}.'
            )
        self.library = library

    def default_transform(self, shape: tuple[int, ...]) -> Transform | None:
        """Encoders read log(1 + x), and a decoder's zero stands for the usual count of each column.

        Where expected counts grow with the total of a row, encoders read its composition.
        """
        return LogNormalize() if self.library == OBSERVED else Log1p()

    def around(self, parameters: Tensor, centre: Tensor) -> Tensor:
        """Log means relative to log(centre); what else there is of parameters stays."""
        return parameters + centre.clamp(min=_LEAST_CENTRE).log()

    def conform(self, name: str, data: Tensor) -> Tensor:
        """Counts of any numeric type, as float32."""
        return self._cast(name, data)

    def check_support(self, name: str, data: Tensor) -> None:
        """Values must be whole and not negative."""
        whole = (data >= 0) & (data == data.round())
        _require(name, data, whole, f"{type(self).__name__} scores counts (whole numbers from 0)")


class Poisson(_Counts):
    """Counts; the decoder gives the logarithm of the rate, taken as it is from -20 to 20 and softly bounded beyond.

    Args:
        library: Size factor of each row, by which rates are multiplied, relative to its usual value in the training
            data: ``"observed"`` for the total count of the row in this modality, or the name of a numeric covariate of
            the model. Densities are then given that factor. Rows that lack the modality are generated with the usual
            total.
    """

    def forward(self, parameters: Tensor) -> Distribution:
        """A Poisson of log rates ``parameters [..., *shape]``."""
        return LogPoisson(soft_clamp(parameters, *_LOG_BOUNDS))


class NegativeBinomial(_Counts):
    """Over-dispersed counts, as in sequencing; the decoder gives ``[..., *shape, 2]``: log mean and log dispersion.

    The variance is mean + mean² / dispersion. Both logarithms are taken as they are from -20 to 20 and softly bounded
    beyond. As the dispersion grows, the distribution becomes a Poisson.

    Args:
        dispersion: ``"decoded"``, or ``"by_feature"`` for one learned dispersion of each column; the decoder then
            gives log means alone, ``[..., *shape]``.
        library: As of :class:`Poisson`.

    Source: Lopez et al. 2018 (scVI), for dispersions by feature and size factors.
    """

    def __init__(self, dispersion: Literal["decoded", "by_feature"] = "decoded", library: str | None = None) -> None:
        super().__init__(library)
        check_choice("NegativeBinomial: dispersion", dispersion, ("decoded", "by_feature"))
        self.log_dispersion = nn.Parameter(torch.zeros(())) if dispersion == "by_feature" else None

    def for_shape(self, shape: tuple[int, ...]) -> Likelihood:
        """A dispersion for each column, if that is what was asked for."""
        if self.log_dispersion is not None:
            self.log_dispersion = nn.Parameter(self.log_dispersion.new_zeros(columns_of(shape)))
        return self

    def forward(self, parameters: Tensor) -> Distribution:
        """A negative binomial of log means and log dispersions ``parameters [..., *shape, 2]``, or of log means."""
        if self.log_dispersion is None:
            log_mean, log_dispersion = soft_clamp(parameters, *_LOG_BOUNDS).unbind(-1)
            return LogNegativeBinomial(log_mean, log_dispersion)
        log_mean = soft_clamp(parameters, *_LOG_BOUNDS)
        return LogNegativeBinomial(log_mean, soft_clamp(self.log_dispersion, *_LOG_BOUNDS).expand_as(log_mean))

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(*shape, 2)``, or ``shape`` where dispersions are learned by feature."""
        return (*shape, 2) if self.log_dispersion is None else shape

    def around(self, parameters: Tensor, centre: Tensor) -> Tensor:
        """Log means relative to log(centre); log dispersions stay."""
        if self.log_dispersion is not None:
            return super().around(parameters, centre)
        log_mean, log_dispersion = parameters.unbind(-1)
        return torch.stack([super().around(log_mean, centre), log_dispersion], -1)


class ZeroInflated(_Counts):
    """Counts with more zeros than their distribution has: with probability π a count is 0, otherwise it is drawn.

    The decoder gives the parameters of the counts and behind them the logit of π: ``[..., *shape, 2]`` over
    :class:`Poisson`, ``[..., *shape, 3]`` over :class:`NegativeBinomial` (2 if its dispersions are learned by feature).

    Args:
        counts: :class:`Poisson` or :class:`NegativeBinomial`.

    Raises:
        TypeError: For another likelihood.

    Source: Lambert 1992, "Zero-inflated Poisson regression".
    """

    def __init__(self, counts: Poisson | NegativeBinomial) -> None:
        if not isinstance(counts, Poisson | NegativeBinomial):
            raise TypeError(
                f"ZeroInflated: expected likelihoods.Poisson() or NegativeBinomial(), got {counts!r}; other "
                f"likelihoods have no zeros to inflate."
            )
        super().__init__(counts.library)
        self.counts = copy.deepcopy(counts)
        self._has_several = len(counts.parameter_shape(())) > 0

    def for_shape(self, shape: tuple[int, ...]) -> Likelihood:
        """Room for what the counts have by column."""
        self.counts.for_shape(shape)
        return self

    def forward(self, parameters: Tensor) -> Distribution:
        """Zero-inflated counts of ``parameters [..., *parameter_shape]``."""
        of_counts, logit = self._parts(parameters)
        return dist.ZeroInflatedDistribution(self.counts(of_counts), gate_logits=logit)

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """That of the counts with one more on the last axis."""
        several = self.counts.parameter_shape(shape)
        return (*shape, several[-1] + 1) if self._has_several else (*shape, 2)

    def around(self, parameters: Tensor, centre: Tensor) -> Tensor:
        """Log means relative to log(centre); the rest stays."""
        of_counts, logit = self._parts(parameters)
        moved = self.counts.around(of_counts, centre)
        return torch.cat([moved if self._has_several else moved.unsqueeze(-1), logit.unsqueeze(-1)], -1)

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        of_counts, logit = parameters[..., :-1], parameters[..., -1]
        return of_counts if self._has_several else of_counts.squeeze(-1), logit


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
    _require(name, values, values == values.round(), f"{type(likelihood).__name__} scores whole numbers")
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
    if not type(likelihood).__module__.startswith(__name__):
        return id(likelihood)
    words = [(k, _alike(v) if isinstance(v, Likelihood) else repr(v)) for k, v in sorted(likelihood.arguments.items())]
    return type(likelihood), tuple(words)


class Custom(Likelihood):
    """Any callable from decoder output to a distribution; made for you when a modality is given a bare callable.

    Args:
        distribution: from ``[..., *parameter_shape]`` to a distribution whose batch and event shape together are
            ``[..., *shape]``; one of Pyro's, which torch's own are not.
        parameter_shape: of the decoder's output, if it is not the shape of the data.
    """

    hole = None  # no number lies in the support of every distribution

    def __init__(
        self, distribution: Callable[[Tensor], Distribution], parameter_shape: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.distribution = distribution
        self._parameter_shape = parameter_shape

    def forward(self, parameters: Tensor) -> Distribution:
        """What the callable makes of ``parameters``."""
        return self.distribution(parameters)

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape given, or else that of the data."""
        return shape if self._parameter_shape is None else self._parameter_shape

    def conform(self, name: str, data: Tensor) -> Tensor:
        """The data as it is: a real type becomes float32, an integer type stays, the distribution checks the rest."""
        return narrowed(name, data, torch.float32) if data.is_floating_point() else data


def as_likelihood(likelihood: nn.Module | Callable[[Tensor], Distribution]) -> Likelihood:
    """A likelihood as it is; a bare callable wrapped as :class:`Custom`."""
    return likelihood if isinstance(likelihood, Likelihood) else Custom(likelihood)


def _require(name: str, data: Tensor, sound: Tensor, what: str) -> None:
    if not bool(sound.all()):
        row = int((~sound).nonzero()[0, 0])
        value = data[~sound].flatten()[0].item()
        raise ValueError(f"{name}: {what}, got {value} in row {row}.")
