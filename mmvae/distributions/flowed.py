"""A distribution pushed through an invertible network: a normalising flow on top of any other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.quasirandom import SobolEngine

from mmvae.choices import check_count

_MOMENT_DRAWS = 512
_SEED = 0


class Flowed(TorchDistribution):
    """The distribution of T⁻¹(u) for u drawn from another distribution.

    Mean and variance have no closed form. They are those of 512 points of a fixed quasi-random sequence, the same at
    every call and for every row, so that they depend on the row alone.

    Args:
        base: Distribution of u, of batch shape ``[*batch]`` and event shape ``[D]``, reparameterised.
        transform: T from z to u: a transform of zuko or torch, whose parameters have the batch shape ``[*batch]``.

    Source: Rezende and Mohamed 2015, "Variational inference with normalizing flows".
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (Pyro's own declaration)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: Distribution, transform: Any) -> None:
        self.base, self.transform = base, transform
        self._moments: tuple[Tensor, Tensor] | None = None
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*sample D"]:
        """Reparameterised draws ``[*sample_shape, *batch, D]``."""
        return self.transform.inv(self.base.rsample(torch.Size(sample_shape)))

    def log_prob(self, value: Float[Tensor, "*sample D"]) -> Float[Tensor, "*sample"]:
        """Log-density in nats, by the change of variables."""
        u, log_volume = self.transform.call_and_ladj(value)
        return self.base.log_prob(u) + log_volume

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Flowed:
        """The same over a larger batch; the parameters of the transform broadcast."""
        return Flowed(self.base.expand(torch.Size(batch_shape)), self.transform)

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        """Average of the fixed points."""
        return self._of_draws()[0]

    @property
    def variance(self) -> Float[Tensor, "*batch D"]:
        """Variance of the fixed points."""
        return self._of_draws()[1]

    def _of_draws(self) -> tuple[Tensor, Tensor]:
        if self._moments is None:
            draws = self.transform.inv(_fixed_draws(self.base))
            self._moments = draws.mean(0), draws.var(0)
        return self._moments


def _fixed_draws(base: Distribution) -> Float[Tensor, "K *batch D"]:
    """Draws that are the same at every call; of a Gaussian under quasi-random noise that all rows share."""
    if not (isinstance(base, Independent) and isinstance(base.base_dist, Normal)):
        with torch.random.fork_rng():
            torch.manual_seed(_SEED)
            return base.rsample((_MOMENT_DRAWS,))
    loc, scale = base.base_dist.loc, base.base_dist.scale
    noise = _quasi_random_noise(_MOMENT_DRAWS, loc.shape[-1]).to(loc)
    return loc + scale * noise.reshape(_MOMENT_DRAWS, *(1,) * len(base.batch_shape), -1)


@lru_cache
def _quasi_random_noise(num_samples: int, size: int) -> Float[Tensor, "K D"]:
    """Standard normal points of a scrambled Sobol sequence, which average smooth functions better than draws do."""
    uniform = SobolEngine(size, scramble=True, seed=_SEED).draw(num_samples, dtype=torch.float64)
    return torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9))


def spline_flow(size: int, context: int = 0, *, transforms: int, hidden: int, bins: int) -> nn.Module:
    """A neural spline flow with coupling layers, which starts at the identity.

    Args:
        size: D, number of columns.
        context: Number of columns of the context that it reads; 0 for none.
        transforms: Number of coupling layers, at least 1.
        hidden: Width of the two hidden layers of each of their networks, at least 1.
        bins: Number of bins of the splines, at least 2.

    Returns:
        A module from a context ``[*batch, context]`` (or ``None``) to a transform for :class:`Flowed`.

    Raises:
        ValueError: For sizes out of range.
        TypeError: For a size that is not a whole number.

    Source: Durkan et al. 2019, "Neural spline flows", as zuko implements it.
    """
    for name, value, least in (("transforms", transforms, 1), ("hidden", hidden, 1), ("bins", bins, 2)):
        check_count(name, value, least)
    validates = Distribution._validate_args
    import zuko  # which switches off the validation of arguments of every distribution of PyTorch

    Distribution.set_default_validate_args(validates)
    flow = zuko.flows.NSF(
        size,
        context,
        transforms=transforms,
        passes=min(2, size),
        bins=bins,
        hidden_features=(hidden, hidden),
    ).transform
    for layer in flow.transforms:
        for parameter in layer.hyper[-1].parameters():
            nn.init.zeros_(parameter)
    return flow
