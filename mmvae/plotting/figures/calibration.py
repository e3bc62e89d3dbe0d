"""Calibration of the aggregate posterior against the prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch.distributions import Independent

from mmvae.abilities import Evaluated
from mmvae.inference import infer
from mmvae.plotting.figures.inputs import evaluating, inferable, prior_of, spread
from mmvae.plotting.figures.style import MUTED, PALETTE, axes_or_new, style, tidy
from mmvae.sources import Data
from mmvae.subsets import Subset, canonical, label

_PRIOR_DRAWS = 20_000


@dataclass(frozen=True, eq=False)
class AggregateCalibration:
    """Where draws from the aggregate posterior fall in the prior.

    Attributes:
        subset: that inference looked at.
        pit: ``[N, D]``, the prior's cumulative distribution function at one draw from the posterior of each datum,
            the probability integral transform. Uniform in each dimension where the aggregate is the prior.
    """

    subset: tuple[str, ...]
    pit: Float[np.ndarray, "N D"]

    @classmethod
    def of(
        cls, model: Evaluated, data: Data, subset: Subset = None, *, size: int = 2000, seed: int = 0
    ) -> AggregateCalibration:
        """The calibration of a model.

        Args:
            model: with a prior.
            data: of which ``size`` points, evenly spread, are used; those without a member of the subset are left out.
            subset: that inference looks at.
            size: N.
            seed: of the draws.

        Raises:
            TypeError: for a model without a prior.
        """
        prior = prior_of(model)
        batch = spread(data, size)
        members = canonical(subset, [name for name in model.names if name in batch.names])
        rows = inferable(batch, members).nonzero().flatten()
        with evaluating(model, seed):
            z = infer(model, batch[rows], members, progress=False).sample()
            return cls(members, marginal_cdf(prior, z).double().cpu().numpy())

    @property
    def band(self) -> float:
        """The distance that a dimension whose aggregate is the prior exceeds with probability 0.05."""
        from scipy.stats import kstwo

        return float(kstwo.ppf(0.95, len(self.pit)))

    @property
    def distance(self) -> Float[np.ndarray, "D"]:
        """The Kolmogorov-Smirnov distance between aggregate and prior in each dimension, from 0 to 1."""
        count = len(self.pit)
        ordered, steps = np.sort(self.pit, 0), np.arange(count)[:, None] / count
        return np.maximum(ordered - steps, steps + 1 / count - ordered).max(0)


def marginal_cdf(prior: torch.distributions.Distribution, z: Float[torch.Tensor, "N D"]) -> Float[torch.Tensor, "N D"]:
    """The cumulative distribution function of a prior, per dimension; of 20,000 draws where it has no closed form."""
    if isinstance(prior, Independent):
        return prior.base_dist.cdf(z)
    draws = prior.sample(torch.Size((_PRIOR_DRAWS,))).sort(0).values  # [K, D]
    below = torch.searchsorted(draws.T.contiguous(), z.T.contiguous()).T
    return below.to(z.dtype) / _PRIOR_DRAWS


def aggregate_calibration(arrays: AggregateCalibration, ax: Axes | None = None) -> Axes:
    """How much of the aggregate posterior lies below each quantile of the prior, a line per latent dimension.

    On the diagonal the two agree. Flat, then steep, then flat: the aggregate is narrower than the prior; steep at both
    ends: wider; to one side of the diagonal: shifted. A dimension whose aggregate is the prior stays within the band,
    over its whole length, with probability 0.95 (the exact quantile of the Kolmogorov-Smirnov distance).

    Args:
        arrays: from :meth:`AggregateCalibration.of`.
        ax: to draw on; by default those of a new figure.
    """
    ax = axes_or_new(ax, 3.8, 3.8)
    worst, leaving = int(arrays.distance.argmax()), arrays.distance > arrays.band
    shares = np.arange(1, len(arrays.pit) + 1) / len(arrays.pit)
    with style():
        ends = np.array([0.0, 1.0])
        ax.fill_between(
            ends, ends - arrays.band, ends + arrays.band, color="#d7e7fa", linewidth=0, label="95 % band of a dimension"
        )
        for dimension, ordered in enumerate(np.sort(arrays.pit, 0).T):
            if dimension != worst:
                ax.plot(ordered, shares, color=MUTED, linewidth=0.7, zorder=2)
                continue
            name = f"furthest: dimension {worst}"
            ax.plot(ordered, shares, color=PALETTE[6], linewidth=1.8, zorder=3, label=name)
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="prior: share below", ylabel="aggregate posterior: share below")
        ax.set_title(label(arrays.subset), parse_math=False)
        ax.plot([], [], color=MUTED, linewidth=0.7, label=f"{int(leaving.sum())} of {len(leaving)} leave the band")
        ax.legend(loc="upper center", bbox_to_anchor=(0.46, -0.14), ncols=2)
        ax.set_aspect("equal")
        tidy(ax, "none")
    return ax
