"""What a likelihood is: from the output of a decoder to a distribution of the data of one modality."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.casting import narrowed
from mmvae.distributions import at_least_float32, without_autocast
from mmvae.transforms import Transform, Units

LOG_BOUNDS = (-20.0, 20.0)
"""Within which logarithms of rates, dispersions and learned scales are taken as they are (see :func:`soft_clamp`)."""


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
        """The distribution of the data, one independent element for each number of a row.

        Args:
            parameters: ``[..., *parameter_shape]``.

        Returns:
            A distribution of batch shape ``[..., *shape]``, the last dimensions being those of a row.
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
        """The shape of the decoder's output for rows of ``shape``."""
        return shape

    def scored(self, transform: Transform) -> Units | None:
        """What of a transform changes the data that is scored; ``None`` if it is for networks alone."""
        return transform.scored_units if self.scores_transformed else None

    def point(self, distribution: Distribution) -> Tensor:
        """The one value that stands for a distribution: its mean, or its most probable code."""
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


def require(name: str, data: Tensor, sound: Tensor, what: str) -> None:
    """Raise ``ValueError`` with the first row in which data is not sound, saying what the likelihood scores."""
    if not bool(sound.all()):
        row = int((~sound).nonzero()[0, 0])
        value = data[~sound].flatten()[0].item()
        raise ValueError(f"{name}: {what}, got {value} in row {row}.")
