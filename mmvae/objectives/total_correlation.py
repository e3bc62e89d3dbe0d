"""The total-correlation objective (MVTCAE)."""

from __future__ import annotations

import pyro.distributions as dist
from torch.distributions import kl_divergence

from mmvae.batch import Batch
from mmvae.objectives.base import Loss, Objective, Trainable, elbo_terms, weighted_sum
from mmvae.objectives.schedules import Weight, checked, is_amount, weight_at
from mmvae.objectives.traces import log_likelihoods


class TotalCorrelation(Objective):
    """(M-α)/M E_q[Σ_m w_m log p(x_m|z)] - β [(1-α) KL(q(z|X) || p) + α/M Σ_m KL(q(z|X) || q_m(z|x_m))].

    Where a row lacks modalities, M is the number it has and the sums are over those.

    Args:
        alpha: between 0 (the plain ELBO) and 1 (the total correlation alone).
        beta: weight of both KL terms.

    Source: Hwang et al. 2021, "Multi-view representation learning via total correlation objective".
    """

    def __init__(self, alpha: float = 0.9, beta: Weight = 1.0) -> None:
        if not is_amount(alpha) or alpha > 1:
            raise ValueError(f"alpha: expected a number from 0 to 1, got {alpha!r}.")
        self.alpha = alpha
        self.beta = checked("beta", beta)

    def __call__(self, model: Trainable, batch: Batch) -> Loss:
        """The loss of a batch."""
        experts = model.experts(batch)
        posterior = model.joint_posterior.fuse(experts)
        log_p = log_likelihoods(model, batch, posterior.rsample())
        kl = kl_divergence(posterior, model.prior())
        unimodal = dist.Normal(experts.loc, experts.scale).to_event(1)
        to_each = kl_divergence(posterior, unimodal)  # [M, N]
        count = experts.weights.sum(0)  # [N]: how many modalities each row has
        conditional = (to_each * experts.weights).sum(0) / count
        penalty = weight_at(self.beta, model.epoch) * ((1 - self.alpha) * kl + self.alpha * conditional)
        total = (penalty - (count - self.alpha) / count * weighted_sum(log_p, model.weights)).mean()
        return Loss(total, {**elbo_terms(log_p, kl), "conditional_kl": conditional.mean()})
