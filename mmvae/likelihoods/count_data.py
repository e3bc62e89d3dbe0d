"""Whole numbers from 0, spread evenly, too much, or with too many zeros."""

from __future__ import annotations

import copy
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.choices import check_choice
from mmvae.distributions import LogNegativeBinomial, LogPoisson, soft_clamp
from mmvae.likelihoods.base import LOG_BOUNDS, Likelihood, require
from mmvae.transforms import Log1p, LogNormalize, Transform, columns_of

OBSERVED = "observed"
"""Library of counts whose size factor is the total of the row."""

_LEAST_CENTRE = 1e-4
"""Smallest mean count that a decoder's zero stands for, of columns that are (nearly) always zero."""


class Counts(Likelihood):
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
        require(name, data, whole, f"{type(self).__name__} scores counts (whole numbers from 0)")


class Poisson(Counts):
    """Counts; the decoder gives the logarithm of the rate, taken as it is from -20 to 20 and softly bounded beyond.

    Args:
        library: Size factor of each row, by which rates are multiplied, relative to its usual value in the training
            data: ``"observed"`` for the total count of the row in this modality, or the name of a numeric covariate of
            the model. Densities are then given that factor. Rows that lack the modality are generated with the usual
            total.
    """

    def forward(self, parameters: Tensor) -> Distribution:
        """A Poisson of log rates ``parameters [..., *shape]``."""
        return LogPoisson(soft_clamp(parameters, *LOG_BOUNDS))


class NegativeBinomial(Counts):
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
            log_mean, log_dispersion = soft_clamp(parameters, *LOG_BOUNDS).unbind(-1)
            return LogNegativeBinomial(log_mean, log_dispersion)
        log_mean = soft_clamp(parameters, *LOG_BOUNDS)
        return LogNegativeBinomial(log_mean, soft_clamp(self.log_dispersion, *LOG_BOUNDS).expand_as(log_mean))

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(*shape, 2)``, or ``shape`` where dispersions are learned by feature."""
        return (*shape, 2) if self.log_dispersion is None else shape

    def around(self, parameters: Tensor, centre: Tensor) -> Tensor:
        """Log means relative to log(centre); log dispersions stay."""
        if self.log_dispersion is not None:
            return super().around(parameters, centre)
        log_mean, log_dispersion = parameters.unbind(-1)
        return torch.stack([super().around(log_mean, centre), log_dispersion], -1)


class ZeroInflated(Counts):
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
