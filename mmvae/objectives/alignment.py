"""The ELBO of a joint encoder, with unimodal posteriors aligned to it (JMVAE)."""

from __future__ import annotations

import pyro.distributions as dist
from torch.distributions import kl_divergence

from mmvae.batch import Batch
from mmvae.objectives.base import Loss, Objective, Trainable, elbo_terms, joint_posterior, weighted_sum
from mmvae.objectives.schedules import LinearWarmup, Weight, checked, weight_at
from mmvae.objectives.traces import log_likelihoods


class AlignedELBO(Objective):
    """E_q(z|X)[Σ_m w_m log p(x_m | z)] - β KL(q(z|X) || p) - α Σ_m KL(q(z|X) || q_m(z|x_m)).

    Args:
        alpha: weight of the alignment.
        beta: KL weight.
        warmup_epochs: over which both weights rise from zero; 0 for none.

    Source: Suzuki et al. 2016 (JMVAE-kl); the warm-up follows MultiVae.
    """

    def __init__(self, alpha: Weight = 0.1, beta: Weight = 1.0, warmup_epochs: float = 0) -> None:
        self.alpha = checked("alpha", alpha)
        self.beta = checked("beta", beta)
        self.warmup: Weight = LinearWarmup(1.0, warmup_epochs) if warmup_epochs else 1.0

    def __call__(self, model: Trainable, batch: Batch) -> Loss:
        """The loss of a batch.

        Raises:
            ValueError: if a modality is missing: the joint encoder needs them all.
        """
        require_complete(model, batch)
        posterior = joint_posterior(model, batch)
        experts = model.experts(batch)
        log_p = log_likelihoods(model, batch, posterior.rsample())
        kl = kl_divergence(posterior, model.prior())
        unimodal = dist.Normal(experts.loc, experts.scale).to_event(1)
        alignment = kl_divergence(posterior, unimodal).sum(0)  # [M, N] -> [N]
        alpha, beta = weight_at(self.alpha, model.epoch), weight_at(self.beta, model.epoch)
        penalty = weight_at(self.warmup, model.epoch) * (beta * kl + alpha * alignment)
        total = (penalty - weighted_sum(log_p, model.weights)).mean()
        return Loss(total, {**elbo_terms(log_p, kl), "alignment": alignment.mean()})

    def capture_obstacle(self, batch: Batch) -> str | None:
        """Of a batch that may lack something, each row must be looked at."""
        return incomplete_obstacle(batch)


def incomplete_obstacle(batch: Batch) -> str | None:
    """The obstacle to capturing steps of what is for complete batches alone."""
    return None if batch.complete else "whether something is missing must be looked at"


def require_complete(model: Trainable, batch: Batch) -> None:
    """Raises ``ValueError``, with the names of what is missing, unless every row has every modality of the model."""
    missing = [
        name for name in model.names if name not in batch.data or not (batch.complete or batch.observed[name].all())
    ]
    if missing:
        raise ValueError(
            f"{type(model).__name__} cannot train on incomplete data: its joint encoder needs every modality, and "
            f"{', '.join(map(repr, missing))} is missing here. Leave incomplete rows out, or use MVAE, MMVAE, "
            f"MoPoE or MVTCAE."
        )
