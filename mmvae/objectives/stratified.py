"""Objectives of a mixture of experts with K draws from each component (MMVAE)."""

from __future__ import annotations

import math
from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor

from mmvae.batch import Batch
from mmvae.distributions.mixture import MixtureOfExperts
from mmvae.objectives.base import Loss, Objective, Trainable, mixture_posterior, weighted_sum
from mmvae.objectives.schedules import Weight, weight_at
from mmvae.objectives.traces import log_likelihoods


class _Stratified(Objective):
    """Draws K latents from each component and weighs them under the mixture:

    log w_ck = Σ_m w_m log p(x_m | z_ck) + β (log p(z_ck) - log q(z_ck)).
    """

    def __init__(self, num_samples: int = 1, beta: Weight = 1.0) -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1, got {num_samples}.")
        self.num_samples = num_samples
        self.beta = beta

    def __call__(self, model: Trainable, batch: Batch) -> Loss:
        """The loss of a batch; the components of modalities that a row lacks have weight zero in it."""
        posterior = mixture_posterior(model, batch)
        z = posterior.component_rsample(self.num_samples)  # [K, C, N, D]
        log_p = log_likelihoods(model, batch, z)
        log_ratio = model.prior().log_prob(z) - self._density(posterior).log_prob(z)
        beta = weight_at(self.beta, model.epoch)
        log_w = weighted_sum(log_p, model.weights) + beta * log_ratio

        def over_components(values: Float[Tensor, "K C N"]) -> Tensor:
            return (posterior.weights * values.mean(0)).sum(0).mean()

        terms = {name: over_components(values) for name, values in log_p.items()}
        kl = -over_components(log_ratio)
        total, bound = self._reduce(z, log_w, beta)
        if not self._is_honest(model):
            _, bound = self._reduce(z.detach(), sum(log_p.values(), start=log_ratio), 1.0)
        loss = -(posterior.weights * total).sum(0).mean()
        return Loss(loss, {**terms, "kl": kl, "elbo": (posterior.weights * bound).sum(0).mean()})

    def _is_honest(self, model: Trainable) -> bool:
        return self.beta == 1 and all(weight == 1 for weight in model.weights.values())

    def _density(self, posterior: MixtureOfExperts) -> MixtureOfExperts:
        return posterior

    @abstractmethod
    def _reduce(
        self, z: Float[Tensor, "K C N D"], log_w: Float[Tensor, "K C N"], beta: float | Tensor
    ) -> tuple[Float[Tensor, "C N"], Float[Tensor, "C N"]]:
        """What is maximised (its gradient is that of the objective), and the bound it stands for."""


class StratifiedELBO(_Stratified):
    """(1/M) Σ_m E_{z ~ q_m}[log w]: the ELBO of the mixture, without bias, K draws from each component.

    Args:
        num_samples: K.
        beta: KL weight.

    Source: Shi et al. 2019.
    """

    def _reduce(self, z: Tensor, log_w: Tensor, beta: float | Tensor) -> tuple[Tensor, Tensor]:
        bound = log_w.mean(0)
        return bound, bound


class StratifiedIWAE(_Stratified):
    """(1/M) Σ_m E_{z_1..K ~ q_m}[log (1/K) Σ_k w_k], with the gradient that automatic differentiation gives.

    Args:
        num_samples: K.
        beta: weight of log p(z) - log q(z) inside the importance weights; only 1 gives a bound in nats.

    Source: Shi et al. 2019, the looser bound, with each component inside its own logarithm.
    """

    def _reduce(self, z: Tensor, log_w: Tensor, beta: float | Tensor) -> tuple[Tensor, Tensor]:
        bound = log_w.logsumexp(0) - math.log(self.num_samples)
        return bound, bound


class StratifiedDReG(_Stratified):
    """The bound of :class:`StratifiedIWAE` with the doubly reparameterised gradient, whose variance is lower.

    Densities of the posterior are evaluated with detached parameters; with normalised weights ω_k the decoders get
    Σ_k ω_k ∇ log w_k, and the path through each draw is multiplied by 1 - β + β ω_k once more: by ω_k, for β = 1.

    With one component, or with K = 1, this is the gradient of the bound without bias. With several it is that of the
    paper's code, which neglects for K > 1 that draws of one component are weighed under the density of the mixture.

    Source: Tucker et al. 2019, "Doubly reparameterized gradient estimators for Monte Carlo objectives"; used for
    mixtures by Shi et al. 2019.
    """

    def _density(self, posterior: MixtureOfExperts) -> MixtureOfExperts:
        return posterior.detach()

    def _reduce(self, z: Tensor, log_w: Tensor, beta: float | Tensor) -> tuple[Tensor, Tensor]:
        bound = log_w.logsumexp(0) - math.log(self.num_samples)
        omega = log_w.softmax(0).detach()
        if z.requires_grad:
            path = (1 - beta + beta * omega).unsqueeze(-1)
            z.register_hook(lambda gradient: path * gradient)
        surrogate = (omega * log_w).sum(0)
        return surrogate + (bound - surrogate).detach(), bound.detach()
