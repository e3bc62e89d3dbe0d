"""Iterative amortized refinement: a trained network that follows the slope of the bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.latents import Latents
from mmvae.refinement.balanced_noise import balanced_noise
from mmvae.refinement.base import Refinable, Refiner
from mmvae.refinement.bound import Bound, Slope
from mmvae.refinement.gaussian import Gaussian
from mmvae.refinement.network import RefinementNetwork

Noise = Callable[[Gaussian], Tensor]
"""Draws the noise ``[K, N or 1, D]`` of one step."""

_TRACE_SAMPLES = 8
"""The trace is measured with at least so many draws and 2 D, the same at every step: its rises are sharp, and the whole
is exact where log-likelihoods are quadratic."""


class Path(NamedTuple):
    """What a refinement went through.

    Attributes:
        iterates: the Gaussians λ_0, ..., λ_T.
        slopes: of the bound at λ_0, ..., λ_{T-1}; no gradient flows through them.
    """

    iterates: list[Gaussian]
    slopes: list[Slope]


def unroll(
    network: RefinementNetwork,
    bound: Bound,
    features: Float[Tensor, "N F"],
    start: Gaussian,
    steps: int,
    noise: Noise,
    *,
    through_time: bool = False,
) -> Path:
    """T steps of refinement. Each decodes once, forwards and back to the latent.

    Args:
        network: that proposes.
        bound: that is climbed.
        features: of the data.
        start: λ_0.
        steps: T.
        noise: for the slope of each step.
        through_time: let gradients flow from a step into those before it; by default each step is trained by itself.

    Source: Marino et al. 2018: slopes are data, without second derivatives.
    """
    iterates = [start]
    slopes: list[Slope] = []
    for _ in range(steps):
        present = iterates[-1] if through_time and slopes else iterates[-1].detach()
        slopes.append(bound.slope(present, noise(present)))
        iterates.append(network(features, present, slopes[-1]))
    return Path(iterates, slopes)


def shared_noise(num_samples: int, seed: int) -> Noise:
    """Noise for inference: fresh at each step, the same for every row and at every call."""
    generator = torch.Generator().manual_seed(seed)
    return lambda q: balanced_noise(num_samples, q.loc.shape[-1], generator, q.loc)


@runtime_checkable
class RefinesItself(Protocol):
    """A model that has learned to refine, such as :class:`mmvae.models.IterativeVAE`."""

    num_steps: int

    def refinement_path(self, batch: Batch, steps: int, start: Distribution | None = None) -> tuple[Bound, Path]:
        """The bound that the model's network climbs for a batch, and what it goes through in so many steps."""


@numbers_checked
class Amortized(Refiner):
    """Refinement by the network that a model was trained with.

    The bound that it climbs, and that ``elbo_trace`` has, carries the modality and KL weights of training, since the
    network knows no other slope; with unit weights that is the ELBO in nats.

    Given a proper subset, the bound is that of its members. The network never saw such slopes in training: look at
    ``elbo_trace`` before you trust the result, or take :class:`Gradient`, which needs no training.

    Args:
        steps: T; by default as many as in training. Nothing has taught the network what to do beyond those: look at
            the trace before you take more.

    Raises:
        ValueError: for a number of steps below 0.
        TypeError: for a model that has not learned to refine.
    """

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps

    def __call__(self, model: Refinable, batch: Batch, start: Distribution | None = None) -> Latents:
        """The posteriors after the last step."""
        if not isinstance(model, RefinesItself):
            raise TypeError(
                f'{type(model).__name__} has not learned to refine; take refine="gradient", which needs no training, '
                f"or train models.IterativeVAE.on(model)."
            )
        with torch.no_grad():
            bound, path = model.refinement_path(batch, model.num_steps if self.steps is None else self.steps, start)
            last = path.iterates[-1]
            noise = shared_noise(max(_TRACE_SAMPLES, 2 * last.loc.shape[-1]), seed=1)(last)
            trace = torch.stack([bound.at(q, noise) for q in path.iterates])
        return Latents(last.distribution, batch.names, trace)
