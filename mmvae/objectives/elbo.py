"""The evidence lower bound of the joint posterior."""

from __future__ import annotations

from mmvae.batch import Batch
from mmvae.choices import check_count
from mmvae.distributions import divergence, stratified_draws
from mmvae.objectives.base import (
    Generative,
    Loss,
    Objective,
    joint_posterior,
    make_loss,
    one_draw,
    untrained_experts,
    weighted_sum,
)
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import JointPosterior


class ELBO(Objective):
    """E_q(z|X)[Σ_m w_m log p(x_m | z)] - β KL(q(z|X) || p), for any posterior that is made of experts, and any prior.

    The KL is exact where it has a closed form. Otherwise it is estimated from the draws that are scored.

    Args:
        beta: KL weight.
        num_samples: K, draws per row; of a mixture stratified over its components.

    Source: Kingma and Welling 2014, "Auto-encoding variational Bayes"; the weight of Higgins et al. 2017 (β-VAE).
    """

    def __init__(self, beta: Weight = 1.0, num_samples: int = 1) -> None:
        check_count("num_samples", num_samples, 1)
        self.beta, self.num_samples = checked("beta", beta), num_samples

    def refusal(self, posterior: JointPosterior) -> str | None:
        """Networks that see all modalities would be all that is trained."""
        return untrained_experts(posterior) or super().refusal(posterior)

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch; rows are scored by the modalities they have."""
        posterior, prior = joint_posterior(model, batch), model.prior(batch.context)
        z = one_draw(posterior) if self.num_samples == 1 else stratified_draws(posterior, self.num_samples)
        log_p = model.score(batch, z)
        if self.num_samples > 1:
            log_p = {name: each.mean(0) for name, each in log_p.items()}
        kl = divergence(posterior, prior, z)
        total = (weight_at(self.beta, model.epoch) * kl - weighted_sum(log_p, model.weights)).mean()
        return make_loss(total, batch, log_p, kl)
