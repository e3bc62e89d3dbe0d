"""The diagonal Gaussian that refinement improves."""

from __future__ import annotations

from typing import NamedTuple

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent

from mmvae.distributions import at_least_float32, soft_clamp

LOG_VARIANCE_BOUNDS = (-20.0, 20.0)
"""Within which refinement takes log-variances as they are. Heads of encoders stay within 18, so a posterior that
refinement starts from is not moved by its bounds."""


class Gaussian(NamedTuple):
    """The parameters of N diagonal Gaussians.

    Attributes:
        loc: ``[N, D]``.
        scale: standard deviations ``[N, D]``.
    """

    loc: Float[Tensor, "N D"]
    scale: Float[Tensor, "N D"]

    @classmethod
    def of(cls, distribution: Distribution) -> Gaussian:
        """A posterior as one Gaussian per row: itself, or the Gaussian of the same mean and variance.

        Mixtures, whose components lie apart, are thereby started from the one Gaussian that covers them all.

        Raises:
            ValueError: for a point mass, which has no variance.
        """
        if isinstance(distribution, Independent) and isinstance(distribution.base_dist, torch.distributions.Normal):
            return cls(distribution.base_dist.loc, distribution.base_dist.scale)
        scale = distribution.variance.sqrt()
        if bool((scale == 0).any()):
            raise ValueError("the posterior is a point mass: refinement needs one with a variance.")
        return cls(distribution.mean, scale)

    @classmethod
    def from_log_variance(cls, loc: Float[Tensor, "N D"], log_variance: Float[Tensor, "N D"]) -> Gaussian:
        """From the parameters that networks and optimisers work with, in at least float32.

        The log-variance is softly bounded beyond :data:`LOG_VARIANCE_BOUNDS`, where it keeps a gradient.
        """
        log_variance = soft_clamp(at_least_float32(log_variance), *LOG_VARIANCE_BOUNDS)
        return cls(at_least_float32(loc), (0.5 * log_variance).exp())

    @property
    def log_variance(self) -> Float[Tensor, "N D"]:
        """log scale²."""
        return 2 * self.scale.log()

    @property
    def distribution(self) -> dist.Independent:
        """Of batch shape ``[N]`` and event shape ``[D]``."""
        return dist.Normal(self.loc, self.scale).to_event(1)

    def detach(self) -> Gaussian:
        """The same parameters, through which no gradient flows."""
        return Gaussian(self.loc.detach(), self.scale.detach())

    def where(self, rows: Tensor, other: Gaussian) -> Gaussian:
        """These Gaussians in the rows that are true, ``[N]``, and the others elsewhere."""
        keep = rows.unsqueeze(-1)
        return Gaussian(torch.where(keep, self.loc, other.loc), torch.where(keep, self.scale, other.scale))
