"""The ELBO of a joint posterior, and those of the unimodal posteriors of their own modalities (TELBO)."""

from __future__ import annotations

from mmvae.batch import Batch
from mmvae.distributions import divergence
from mmvae.objectives.base import Generative, Loss, Objective, make_loss, posterior_and_experts, weighted_sum
from mmvae.objectives.coordination import scored_jointly_and_alone
from mmvae.objectives.judging import BY_LOSS, Judge
from mmvae.objectives.schedules import Weight, checked, weight_at


class TripleELBO(Objective):
    """ELBO(q(z|X), X) + γ Σ_m ELBO(q_m(z|x_m), x_m): each unimodal posterior explains its own modality alone.

    Args:
        beta: KL weight.
        unimodal: γ, weight of the unimodal bounds.

    Source: Vedantam et al. 2018, "Generative models of visually grounded imagination" (TELBO), for two modalities.
    """

    def __init__(self, beta: Weight = 1.0, unimodal: Weight = 1.0) -> None:
        self.beta, self.unimodal = checked("beta", beta), checked("unimodal", unimodal)

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the loss, of which the ELBO of the joint posterior is one part."""
        return BY_LOSS

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch."""
        posterior, experts = posterior_and_experts(model, batch)
        z, own, log_p = scored_jointly_and_alone(model, batch, posterior, experts)
        prior = model.prior(batch.context)
        kl, alone = divergence(posterior, prior, z), experts.sum_over(divergence(experts.distribution, prior, own))
        beta, unimodal = weight_at(self.beta, model.epoch), weight_at(self.unimodal, model.epoch)
        joint, by_itself = ({name: value[place] for name, value in log_p.items()} for place in (0, 1))
        total = beta * kl - weighted_sum(joint, model.weights)
        total = total + unimodal * (beta * alone - weighted_sum(by_itself, model.weights))
        return make_loss(total.mean(), batch, joint, kl)
