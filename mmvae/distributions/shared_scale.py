"""Independent noise of one scale for all numbers of a datum, scored in one pass."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss


class _SharedScale(dist.Distribution):
    """A location-scale family whose scale is one number everywhere.

    An event of many numbers is scored faster than by its elements: by one sum of distances, instead of several passes
    over the data and a logarithm for each number of it. The answer is the same.
    """

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> dist.Distribution:
        """The last dimensions as one event (all of them by default)."""
        count = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return _Event(self, count) if count > 0 else super().to_event(count)

    @classmethod
    def score(cls, value: Tensor, loc: Tensor, scale: Tensor | float, event_dims: int) -> Tensor:
        """The log-density of events, in nats.

        Args:
            value: ``[*batch, *event]``.
            loc: Of a shape that broadcasts with it.
            scale: Scalar; a number, if nothing learns it, spares a step its logarithm and its gradient.
            event_dims: Number of dimensions of an event.
        """
        if loc.shape != value.shape:
            loc, value = torch.broadcast_tensors(loc, value)
        distance, event = cls.distance(value, loc), loc.shape[loc.ndim - event_dims :]
        if event:  # a sum adds in pairs; a norm adds one number after the other, and loses 0.8 nats of a large picture
            distance = distance.sum(tuple(range(-event_dims, 0)))
        return cls.density(distance, scale, math.prod(event))

    @staticmethod
    @abstractmethod
    def distance(value: Tensor, loc: Tensor) -> Tensor:
        """How far each number lies from its location, of one shape."""

    @staticmethod
    @abstractmethod
    def density(distance: Tensor, scale: Tensor | float, size: int) -> Tensor:
        """The log-density of an event, in nats.

        Args:
            distance: Sum over the numbers of the event.
            scale: Scalar.
            size: How many numbers there are.
        """


class SharedScaleNormal(_SharedScale, dist.Normal):
    """A Normal whose scale is one number everywhere.

    The log-density of an event of n numbers is -Σ(x - loc)² / 2σ² - n log σ √2π.

    Args:
        loc: of any shape.
        scale: σ, a scalar.
    """

    @staticmethod
    def distance(value: Tensor, loc: Tensor) -> Tensor:
        """The squared difference."""
        return mse_loss(loc, value, reduction="none")

    @staticmethod
    def density(distance: Tensor, scale: Tensor | float, size: int) -> Tensor:
        """In nats."""
        return distance * (-0.5 / scale**2) - size * (_log(scale) + 0.5 * math.log(2 * math.pi))


class SharedScaleLaplace(_SharedScale, dist.Laplace):
    """A Laplace whose scale is one number everywhere.

    The log-density of an event of n numbers is -Σ|x - loc| / b - n log 2b.

    Args:
        loc: of any shape.
        scale: b, a scalar.
    """

    @staticmethod
    def distance(value: Tensor, loc: Tensor) -> Tensor:
        """The absolute difference."""
        return l1_loss(loc, value, reduction="none")

    @staticmethod
    def density(distance: Tensor, scale: Tensor | float, size: int) -> Tensor:
        """In nats."""
        return distance * (-1 / scale) - size * (_log(scale) + math.log(2))


class _Event(dist.Independent):
    """Noise of one scale with the last dimensions as an event."""

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats."""
        base: Any = self.base_dist
        if base._validate_args:
            base._validate_sample(value)
        return base.score(value, base.loc, base.scale[(0,) * base.scale.ndim], len(self.event_shape))


def _log(scale: Tensor | float) -> Tensor | float:
    return scale.log() if isinstance(scale, Tensor) else math.log(scale)
