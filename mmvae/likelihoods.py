"""Likelihoods: from decoder output to a Pyro distribution over the data of one modality.

Where a distribution has several parameters for each number of the data (the logits of a category, say), they stand on
the last axis of the decoder's output: ``parameter_shape = (*shape, how_many)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.casting import narrowed
from mmvae.distributions import (
    LogitContinuousBernoulli,
    LogNegativeBinomial,
    LogPoisson,
    SharedScaleLaplace,
    SharedScaleNormal,
    at_least_float32,
    soft_clamp,
    without_autocast,
)
from mmvae.transforms import Log1p, Standardize, Transform

_SCALE_FLOOR = 1e-3
_LOG_BOUNDS = (-20.0, 20.0)
"""Within which logarithms of rates, dispersions and learned scales are taken as they are (see :func:`soft_clamp`)."""

_LONGEST_STANDARDISED = 2
"""Dimensions of a datum up to which real data is standardised by default: vectors and sequences, not images."""

_LEAST_CENTRE = 1e-4
"""Smallest mean count that a decoder's zero stands for, of columns that are (nearly) always zero."""


class Likelihood(Remembers, nn.Module, ABC):
    """What a decoder's output means: a distribution, what data it can score, and its best single guess.

    Called with a decoder's output, it computes the distribution from at least float32, whatever the precision around
    it: under autocast the network rounds to half precision, the density does not.
    """

    data_dtype: torch.dtype = torch.float32
    """The type in which data of this likelihood is kept."""

    hole: float | None = 0.0
    """Placeholder for missing values, masked, with a finite density. A likelihood of positive data sets another one;
    ``None`` takes an observed value of the same modality."""

    scores_transformed: bool = True
    """Whether a transform of the modality changes what is scored, as it does real numbers. What is counted, and values
    in a fixed interval, are scored as they are, and a transform is for networks alone."""

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
        """The log-density or log-probability of each datum, ``[*P, N]``, in nats.

        Args:
            parameters: Output of the decoder, ``[*P, N, *parameter_shape]``.
            data: ``[N, *shape]``.
            observed: Numbers that the sum over a datum takes, bool ``[N, *shape]``; by default all.
        """
        distribution = self(parameters)
        if observed is not None:
            distribution = distribution.mask(observed)
        return distribution.to_event(data.ndim - 1 - len(distribution.event_shape)).log_prob(data)

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the decoder's output for a datum of ``shape``."""
        return shape

    def point(self, distribution: Distribution) -> Tensor:
        """The single datum that stands for a distribution: its mean, or its most probable code."""
        return distribution.mean

    def default_transform(self, shape: tuple[int, ...]) -> Transform | None:
        """The transform of a modality of data ``[N, *shape]`` that names none; by default none."""
        return None

    def around(self, parameters: Tensor, centre: Tensor) -> Tensor:
        """Parameters of data that lie around ``centre``, from those that a decoder gives relative to it.

        Only for likelihoods that score data as it is (see :attr:`scores_transformed`); by default the parameters stay.

        Args:
            parameters: ``[..., *parameter_shape]``.
            centre: Value that a decoder's zero stands for, by column of the data.
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


def _fixed_or_learned(kind: str, scale: float | Literal["learned"]) -> nn.Parameter | Tensor:
    if scale == "learned":
        return nn.Parameter(torch.zeros(()))
    if isinstance(scale, str) or not 0 < scale < float("inf"):
        raise ValueError(f'{kind}: scale must be a finite number above 0 or "learned", got {scale!r}.')
    return torch.tensor(float(scale)).log()


class _LocationScale(Likelihood):
    """A decoder that gives the location; one scale for the whole modality, fixed or learned."""

    noise: type[SharedScaleNormal] | type[SharedScaleLaplace]

    def __init__(self, scale: float | Literal["learned"] = 1.0) -> None:
        super().__init__()
        log_scale = _fixed_or_learned(type(self).__name__, scale)
        if isinstance(log_scale, nn.Parameter):
            self.log_scale = log_scale
        else:
            self.register_buffer("log_scale", log_scale, persistent=False)
        self.learned = isinstance(log_scale, nn.Parameter)

    @property
    def scale(self) -> Tensor:
        """The scale, a number in the units of the transformed data; a learned one stays above 0.001."""
        if not self.learned:
            return self.log_scale.exp()
        return soft_clamp(self.log_scale, *_LOG_BOUNDS).exp() + _SCALE_FLOOR

    def default_transform(self, shape: tuple[int, ...]) -> Transform | None:
        """Vectors ``[P]`` and sequences ``[T, C]`` are standardised; images are taken as they are."""
        return Standardize() if len(shape) <= _LONGEST_STANDARDISED else None

    def forward(self, parameters: Tensor) -> Distribution:
        """Noise around ``parameters [..., *shape]``."""
        return self.noise(parameters, self.scale)

    def log_prob(self, parameters: Tensor, data: Tensor, observed: Tensor | None = None) -> Tensor:
        """The log-density of each datum, without a distribution in between unless it is to check its arguments."""
        if Distribution._validate_args or observed is not None:
            return super().log_prob(parameters, data, observed)
        with without_autocast(parameters):
            return self.noise.score(data, at_least_float32(parameters), self.scale, data.ndim - 1)


class Normal(_LocationScale):
    """Gaussian noise of one standard deviation around the decoder's output.

    Args:
        scale: the standard deviation, in units of the transformed data, or ``"learned"``. A modality of vectors is
            standardised by default: the unit is then the standard deviation of each column. Pass
            ``Modality(..., transform=None)`` for units of the data.
    """

    noise = SharedScaleNormal


class Laplace(_LocationScale):
    """Laplace noise of one scale around the decoder's output; the field's usual choice for images is 0.75.

    Args:
        scale: the scale b of exp(-|x - loc| / b) / 2b, in the units of :class:`Normal`, or ``"learned"``.
    """

    noise = SharedScaleLaplace


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

    def default_transform(self, shape: tuple[int, ...]) -> Transform | None:
        """Encoders read log(1 + x), and a decoder's zero stands for the usual count of each column."""
        return Log1p()

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
    """Counts; the decoder gives the logarithm of the rate, taken as it is from -20 to 20 and softly bounded beyond."""

    def forward(self, parameters: Tensor) -> Distribution:
        """A Poisson of log rates ``parameters [..., *shape]``."""
        return LogPoisson(soft_clamp(parameters, *_LOG_BOUNDS))


class NegativeBinomial(_Counts):
    """Over-dispersed counts, as in sequencing; the decoder gives ``[..., *shape, 2]``: log mean and log dispersion.

    The variance is mean + mean² / dispersion. Both logarithms are taken as they are from -20 to 20 and softly bounded
    beyond. As the dispersion grows, the distribution becomes a Poisson.
    """

    def forward(self, parameters: Tensor) -> Distribution:
        """A negative binomial of log means and log dispersions ``parameters [..., *shape, 2]``."""
        log_mean, log_dispersion = soft_clamp(parameters, *_LOG_BOUNDS).unbind(-1)
        return LogNegativeBinomial(log_mean, log_dispersion)

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(*shape, 2)``."""
        return (*shape, 2)

    def around(self, parameters: Tensor, centre: Tensor) -> Tensor:
        """Log means relative to log(centre); log dispersions stay."""
        log_mean, log_dispersion = parameters.unbind(-1)
        return torch.stack([super().around(log_mean, centre), log_dispersion], -1)


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
