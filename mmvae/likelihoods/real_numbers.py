"""Real numbers: noise of one scale, or of one for each column, around the decoder's output."""

from __future__ import annotations

import copy
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.distributions import SharedScaleLaplace, SharedScaleNormal, at_least_float32, soft_clamp, without_autocast
from mmvae.likelihoods.base import LOG_BOUNDS, Likelihood
from mmvae.transforms import Standardize, Transform, columns_of

_SCALE_FLOOR = 1e-3

_LONGEST_STANDARDISED = 2
"""Dimensions of a row up to which real data is standardised by default: vectors and sequences, not images."""


class LocationScale(Likelihood):
    """A decoder that gives the location; the scale is one for the whole modality or for each column."""

    fixed_scale: Tensor
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
        return soft_clamp(self.log_scale, *LOG_BOUNDS).exp() + _SCALE_FLOOR

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
        """Vectors ``[P]`` and sequences ``[T, C]`` are standardised; of images and volumes only encoders read
        standardised channels, and the scale stays in units of the data."""
        return Standardize(scored=len(shape) <= _LONGEST_STANDARDISED)

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


class Normal(LocationScale):
    """Gaussian noise around the decoder's output.

    Args:
        scale: the standard deviation, in units of the transformed data; ``"learned"`` for one that is learned, or
            ``"by_feature"`` for one that is learned for each column (of images: each channel). A modality of vectors is
            standardised by default: the unit is then the standard deviation of each column. Pass
            ``Modality(..., transform=None)`` for units of the data.
    """

    noise, family = SharedScaleNormal, dist.Normal


class Laplace(LocationScale):
    """Laplace noise around the decoder's output; the field's usual choice for images is a scale of 0.75.

    Args:
        scale: the scale b of exp(-|x - loc| / b) / 2b, in the units of :class:`Normal`; ``"learned"`` or
            ``"by_feature"`` as there.
    """

    noise, family = SharedScaleLaplace, dist.Laplace
