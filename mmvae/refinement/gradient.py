"""Refinement by gradient ascent on each datum's own posterior."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.latents import Latents
from mmvae.refinement.balanced_noise import balanced_noise
from mmvae.refinement.base import Refinable, Refiner
from mmvae.refinement.bound import Bound
from mmvae.refinement.gaussian import Gaussian

_GROWTH, _SHRINKAGE = 1.2, 0.3
"""Of a datum's step size, after a step that raised its bound and after one that did not."""

_LEAST_SAMPLES = 32


@numbers_checked
class Gradient(Refiner):
    """Gradient ascent on the location and log-variance of each datum, with a step size of its own; needs no training.

    The noise is the same at every step, so the bound is a plain function of the parameters. A step of Adam that raises
    it is kept and the next one is longer; one that does not is undone, and Adam starts again from there with a
    shorter one. So no datum ends below where it started, and none is influenced by another.

    Args:
        steps: T.
        lr: size of the first step.
        num_samples: K, draws of the noise. By default 2 D and at least 32: then the bound is exact wherever
            log-likelihoods are quadratic in z. With fewer, the scales can fit the noise.
        weights: of the modalities' log-likelihoods by name; by default 1 each.
        beta: KL weight. With the defaults the ELBO in honest nats is climbed; to climb the bound of training, pass
            ``model.weights`` and the KL weight of its objective.
        seed: of the noise.

    Raises:
        ValueError: for a number of steps below 0 or of samples below 1.

    Source: per-datum ascent is the yardstick of the amortisation gap in Cremer et al. 2018, "Inference suboptimality
    in variational autoencoders"; Adam of Kingma and Ba 2015; the control of the steps is this library's.
    """

    def __init__(
        self,
        steps: int = 100,
        *,
        lr: float = 0.1,
        num_samples: int | None = None,
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.steps, self.lr, self.num_samples = steps, lr, num_samples
        self.weights, self.beta, self.seed = weights, beta, seed

    def __call__(self, model: Refinable, batch: Batch, start: Distribution | None = None) -> Latents:
        """The refined posteriors; ``.elbo_trace`` has the best bound so far, which never falls."""
        with torch.no_grad():
            best = Gaussian.of(model.posterior(batch) if start is None else start)
            latent_dim = best.loc.shape[-1]
            count = self.num_samples or max(_LEAST_SAMPLES, 2 * latent_dim)
            noise = balanced_noise(count, latent_dim, torch.Generator().manual_seed(self.seed), best.loc)
            bound = Bound(model, batch, self.weights, self.beta)
            slope = bound.slope(best, noise)
            trace, uphill = [slope.value], torch.cat([slope.loc, slope.log_variance], -1)  # [N, 2 D]
            adam = _Adam(uphill, self.lr)
            for _ in range(self.steps):
                loc, log_variance = adam.step(uphill).chunk(2, -1)
                there = Gaussian.from_log_variance(best.loc + loc, best.log_variance + log_variance)
                slope = bound.slope(there, noise)
                risen = slope.value > trace[-1]  # false for NaN as well
                best = there.where(risen, best)
                uphill = torch.where(risen.unsqueeze(-1), torch.cat([slope.loc, slope.log_variance], -1), uphill)
                trace.append(torch.where(risen, slope.value, trace[-1]))
                adam.judge(risen.unsqueeze(-1))
        return Latents(best.distribution, batch.names, torch.stack(trace))


class _Adam:
    """Adam for each row by itself; rows whose step is judged bad forget their moments and step less far."""

    def __init__(self, like: Tensor, lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        self.first, self.second = torch.zeros_like(like), torch.zeros_like(like)
        self.count = like.new_zeros(len(like), 1)
        self.rate = like.new_full((len(like), 1), lr)
        self.betas = betas

    def step(self, uphill: Tensor) -> Tensor:
        """How far each parameter moves."""
        self.count = self.count + 1
        self.first = torch.lerp(uphill, self.first, self.betas[0])
        self.second = torch.lerp(uphill.square(), self.second, self.betas[1])
        first, second = (
            moment / (1 - beta**self.count) for moment, beta in zip((self.first, self.second), self.betas, strict=True)
        )
        return self.rate * first / (second.sqrt() + 1e-8)

    def judge(self, good: Tensor) -> None:
        """Says which rows, ``[N, 1]``, are better off after the last step."""
        self.rate = self.rate * torch.where(good, _GROWTH, _SHRINKAGE)
        self.first, self.second, self.count = (
            torch.where(good, each, torch.zeros_like(each)) for each in (self.first, self.second, self.count)
        )
