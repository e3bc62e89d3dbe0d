"""Independent Laplace noise of one scale for all numbers of a datum, scored in one pass."""

from __future__ import annotations

import math
from typing import cast

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import l1_loss


class SharedScaleLaplace(dist.Laplace):
    """A Laplace whose scale is one number everywhere; an event of many numbers is scored faster than by its elements.

    The log-density of an event of n numbers is -Σ|x - loc| / b - n log 2b: one sum, instead of several passes over
    the data and a logarithm for each number of it. The answer is the same.

    Args:
        loc: of any shape.
        scale: b, a scalar.
    """

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> dist.Distribution:
        """The last dimensions as one event (all of them by default)."""
        count = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return _Event(self, count) if count > 0 else super().to_event(count)


class _Event(dist.Independent):
    """:class:`SharedScaleLaplace` with the last dimensions as an event."""

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats."""
        base = cast(SharedScaleLaplace, self.base_dist)
        if base._validate_args:
            base._validate_sample(value)
        scale = base.scale[(0,) * base.scale.ndim]
        # A sum, which adds in pairs; a norm adds one number after the other, and loses 0.8 nats of a large picture.
        loc, value = torch.broadcast_tensors(base.loc, value)
        apart = l1_loss(loc, value, reduction="none")
        distance = apart.sum(tuple(range(-len(self.event_shape), 0)))
        return -distance / scale - math.prod(self.event_shape) * (2 * scale).log()
