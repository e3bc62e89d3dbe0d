"""A diffusion as the prior: noise that a network takes back to latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import silu

from mmvae.choices import check_count
from mmvae.distributions import at_least_float32, without_autocast
from mmvae.distributions.flowed import Flowed
from mmvae.priors.base import Prior

_FREQUENCIES = (1.0, 2.0, 4.0)
"""Of the sines and cosines by which a network reads the angle."""

_LEAST_SCALE = 1e-3
"""Of a column of latents to start from; one that never varies has none."""


class Diffusion(Prior):
    """Latents turned into noise, z_θ = cos θ z + sin θ ε from θ = 0 to π/2, and the way back, which is learned.

    A network n says how fast the mean row moves at each place: dz/dθ = sin θ n(z, θ). From draws of the standard normal
    at θ = π/2 this equation leads to draws of the prior, and along it the density is known (the probability flow): in
    evaluation mode ``log_prob`` solves it in a fixed number of intervals, with an exact divergence, and is the density
    of what is drawn up to the error of the solver. In training mode, as a model that learns its prior is, ``log_prob``
    is an unbiased estimate, by one angle and one pair of noises, of

    log N(z; 0, I) + E[2 v'n(z_θ, θ) - u ‖n(z_θ, θ)‖²],   u = sin θ uniform, v = cos θ ε - u z,

    a lower bound on the log-density of the stochastic way back. It is tight, and both ways have one density, where the
    network is right; elsewhere the flow's may be above or below. Objectives that take the exponential of weights
    (``"iwae"`` and ``"dreg"``) would bound nothing by it: for them training solves the equation too, at its cost.

    It starts at the standard normal. :func:`mmvae.fit_prior` standardises the columns first, and gives the bound at
    every step. Of a model with covariates the network reads them: p(z | c).

    Args:
        hidden: Width of the two hidden layers of the network, at least 1.
        intervals: Number of intervals in which the equation is solved, by four passes of the network each, at least 1.

    Raises:
        ValueError: For sizes out of range.

    Source: Song et al. 2021, "Score-based generative modeling through stochastic differential equations", for the
    flow; Kingma et al. 2021, "Variational diffusion models", for the bound; angles and velocities of Salimans and Ho
    2022. In latents: Vahdat et al. 2021, whose network starts at the normal likewise.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, hidden: int = 128, intervals: int = 20) -> None:
        super().__init__()
        check_count("hidden", hidden, 1)
        check_count("intervals", intervals, 1)
        self.hidden, self.intervals = hidden, intervals

    def build(self) -> None:
        """The network, and the affine map between latents and what it sees."""
        self.network = Velocity(self.latent_dim, self.context_dim, self.hidden)
        self.register_buffer("loc", torch.zeros(self.latent_dim))
        self.register_buffer("scale", torch.ones(self.latent_dim))

    def start_from(self, z: Float[Tensor, "n D"], generator: torch.Generator) -> None:
        """Standardise latents by the moments of draws."""
        self.loc.copy_(z.mean(0))
        self.scale.copy_(z.std(0).clamp_min(_LEAST_SCALE))

    def forward(self, context: Float[Tensor, "N C"] | None = None) -> Distribution:
        """p(z), of batch shape ``[]`` (``[N]`` with covariates) and event shape ``[D]``."""
        noise = dist.Normal(torch.zeros_like(self.loc), torch.ones_like(self.loc)).to_event(1)
        if context is not None:
            noise = noise.expand(context.shape[:-1])
        exact = Flowed(noise, ProbabilityFlow(self.network, self.loc, self.scale, context, self.intervals))
        return _Bounded(exact) if self.training and not self.is_weighed else exact


class Velocity(nn.Module):
    """The network of a diffusion: two hidden layers, whose divergence costs no more than its value.

    Args:
        latent_dim: D.
        context_dim: C.
        hidden: Width of the hidden layers.
    """

    def __init__(self, latent_dim: int, context_dim: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(latent_dim + 2 * len(_FREQUENCIES) + context_dim, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, latent_dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Float[Tensor, "*P D"], angle: Tensor, context: Tensor | None) -> Float[Tensor, "*P D"]:
        """n(z, θ).

        Args:
            z: Places.
            angle: θ, of one number for all, or for each place ``[*P, 1]``.
            context: Encoded covariates, which broadcast with the places, or ``None``.
        """
        return self.last(silu(self.second(silu(self.first(_read(z, angle, context))))))

    def with_divergence(
        self, z: Float[Tensor, "*P D"], angle: Tensor, context: Tensor | None
    ) -> tuple[Float[Tensor, "*P D"], Float[Tensor, "*P"]]:
        """n(z, θ), and Σ_d ∂n_d/∂z_d: the trace of W₃ A₂ W₂ A₁ W₁ with the slopes A of the layers, as one product."""
        before = self.first(_read(z, angle, context))
        between = self.second(silu(before))
        around = self.first.weight[:, : z.shape[-1]] @ self.last.weight  # W₁ W₃, of the layer before and after W₂
        inner = self.second.weight * around.mT
        divergence = (_slope(between) * nn.functional.linear(_slope(before), inner)).sum(-1)
        return self.last(silu(between)), divergence


class ProbabilityFlow:
    """From latents to noise and back, along dz/dθ = sin θ n(z, θ), by the method of Runge and Kutta of fourth order.

    Angles lie closer where noise is little, since latents that lie close together part there.

    Args:
        network: n, see :class:`Velocity`.
        loc: Location of the latents, ``[D]``.
        scale: Their scale: the network sees (z - loc) / scale.
        context: Encoded covariates, ``[N, C]``, or ``None``.
        intervals: Number of intervals.
    """

    def __init__(self, network: Any, loc: Tensor, scale: Tensor, context: Tensor | None, intervals: int) -> None:
        self._network, self._loc, self._scale, self._context = network, loc, scale, context
        self._angles = [math.pi / 2 * (step / intervals) ** 2 for step in range(intervals + 1)]

    def call_and_ladj(self, z: Float[Tensor, "*P D"]) -> tuple[Float[Tensor, "*P D"], Float[Tensor, "*P"]]:
        """Noise, and the logarithm of the volume by which the way to it stretches."""
        with without_autocast(z):
            place = (at_least_float32(z) - self._loc) / self._scale
            volume = -self._scale.log().sum().expand(place.shape[:-1])
            for start, stop in zip(self._angles[:-1], self._angles[1:], strict=True):
                place, growth = self._step(place, start, stop, True)
                volume = volume + growth
        return place, volume

    def inv(self, noise: Float[Tensor, "*P D"]) -> Float[Tensor, "*P D"]:
        """Latents."""
        with without_autocast(noise):
            place = at_least_float32(noise)
            for start, stop in zip(self._angles[:0:-1], self._angles[-2::-1], strict=True):
                place, _ = self._step(place, start, stop, False)
            return self._loc + self._scale * place

    def bound(self, z: Float[Tensor, "*P D"]) -> Float[Tensor, "*P"]:
        """An estimate of a lower bound on the log-density, in nats, see :class:`Diffusion`."""
        with without_autocast(z):
            place = (at_least_float32(z) - self._loc) / self._scale
            u = torch.rand(*place.shape[:-1], 1, dtype=place.dtype, device=place.device)
            noise = torch.randn_like(place)
            both = torch.stack([noise, -noise])  # what is linear in the noise cancels
            cosine = (1 - u.square()).sqrt()
            found = self._network(cosine * place + u * both, u.asin().expand(*both.shape[:-1], 1), self._context)
            gain = (found * (2 * (cosine * both - u * place) - u * found)).sum(-1).mean(0)
            standard = -0.5 * (place.square() + math.log(2 * math.pi)).sum(-1)
            return standard + gain - self._scale.log().sum()

    def _step(self, place: Tensor, start: float, stop: float, is_counted: bool) -> tuple[Tensor, Tensor | float]:
        """The place at the next angle and, if it is counted, the integral of the divergence on the way."""
        length, middle = stop - start, (start + stop) / 2
        one, growth_one = self._velocity(place, start, is_counted)
        two, growth_two = self._velocity(place + length / 2 * one, middle, is_counted)
        three, growth_three = self._velocity(place + length / 2 * two, middle, is_counted)
        four, growth_four = self._velocity(place + length * three, stop, is_counted)
        moved = place + length / 6 * (one + 2 * (two + three) + four)
        return moved, length / 6 * (growth_one + 2 * (growth_two + growth_three) + growth_four)

    def _velocity(self, place: Tensor, angle: float, is_counted: bool) -> tuple[Tensor, Tensor | float]:
        at, sine = place.new_full((), angle), math.sin(angle)
        if not is_counted:
            return sine * self._network(place, at, self._context), 0.0
        velocity, divergence = self._network.with_divergence(place, at, self._context)
        return sine * velocity, sine * divergence


class _Bounded(TorchDistribution):
    """A distribution whose log-density is estimated from below; all else is that of the exact one."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (Pyro's own declaration)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, exact: Flowed) -> None:
        self.exact = exact
        super().__init__(exact.batch_shape, exact.event_shape, validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*sample D"]:
        """Reparameterised draws ``[*sample_shape, *batch, D]``."""
        return self.exact.rsample(sample_shape)

    def log_prob(self, value: Float[Tensor, "*sample D"]) -> Float[Tensor, "*sample"]:
        """The estimate, in nats."""
        whole = torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        return self.exact.transform.bound(value.expand(whole))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> _Bounded:
        """The same over a larger batch."""
        return _Bounded(self.exact.expand(batch_shape))

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        """That of fixed draws."""
        return self.exact.mean

    @property
    def variance(self) -> Float[Tensor, "*batch D"]:
        """That of fixed draws."""
        return self.exact.variance


def _read(z: Tensor, angle: Tensor, context: Tensor | None) -> Tensor:
    """What the network reads: places, sines and cosines of the angle, covariates."""
    turns = torch.stack([frequency * angle for frequency in _FREQUENCIES], -1)
    waves = torch.cat([turns.sin(), turns.cos()], -1)
    waves = waves.squeeze(-2) if angle.ndim else waves
    parts = [z, waves.expand(*z.shape[:-1], -1)]
    if context is not None:
        parts.append(context.expand(*z.shape[:-1], -1))
    return torch.cat(parts, -1)


def _slope(x: Tensor) -> Tensor:
    """The derivative of :func:`torch.nn.functional.silu`."""
    share = torch.sigmoid(x)
    return share * (1 + x * (1 - share))
