"""A mixture trained against the Jensen-Shannon divergence of its components and the prior (mmJSD)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mmvae.batch import Batch
from mmvae.distributions import closed_divergence, divergence, select_columns
from mmvae.objectives.base import Generative, Loss, Objective, make_loss, one_draw, posterior_and_experts, weighted_sum
from mmvae.objectives.judging import BY_LOSS, Judge
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import Experts, JointPosterior, Mixture
from mmvae.words import Words, declare_terms

declare_terms(
    Words(
        "divergence",
        "Jensen-Shannon divergence",
        "Of the unimodal posteriors and the standard normal, from their geometric mean.",
        unit="nats per datum",
        better="lower",
    ),
    of_bound=True,
)


class JensenShannon(Objective):
    """E_{z ~ mixture}[Σ_m w_m log p(x_m | z)] - β JSD(q_1, ..., q_M, N(0, I)), with a dynamic prior.

    The dynamic prior f is the geometric mean of the n unimodal posteriors of a row and the standard normal, and JSD the
    mean of KL(q_k || f) over these n + 1. One draw per row, stratified over the components, as in
    :class:`~mmvae.objectives.MixtureELBO`. Private columns have their KL from the standard normal.

    Args:
        beta: Weight of the divergence.

    Source: Sutter, Daunhawer and Vogt 2020, "Multimodal generative learning utilizing Jensen-Shannon-divergence".
    """

    def __init__(self, beta: Weight = 1.0) -> None:
        self.beta = checked("beta", beta)

    def refusal(self, posterior: JointPosterior) -> str | None:
        """The divergence is one of experts that are mixed."""
        if isinstance(posterior, Mixture):
            return None
        return "It compares the components of a mixture of experts. Pair the objective with Mixture."

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the loss, whose divergence is not that of the ELBO."""
        return BY_LOSS

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch."""
        posterior, experts = posterior_and_experts(model, batch)
        z = one_draw(posterior)
        log_p = model.score(batch, z)
        shannon = jensen_shannon(experts.of_shared())
        penalty = shannon
        if not experts.layout.is_shared:
            private = slice(experts.layout.shared, None)
            own = select_columns(experts.distribution, private)
            standard = experts.family(torch.zeros_like(own.mean), 1.0).to_event(1)
            found = closed_divergence(own, standard)
            assert found is not None  # both are of one family
            penalty = shannon + experts.sum_over(found)
        kl = divergence(posterior, model.prior(batch.context), z)
        total = (weight_at(self.beta, model.epoch) * penalty - weighted_sum(log_p, model.weights)).mean()
        return make_loss(total, batch, log_p, kl, divergence=shannon.mean())


def jensen_shannon(experts: Experts) -> Float[Tensor, "N"]:
    """The mean divergence of the experts of each row, and of the standard normal, from their geometric mean, in nats.

    Args:
        experts: Normal experts that speak of all columns.
    """
    present = experts.weights.unsqueeze(-1)  # [M, N, 1]
    count = present.sum(0) + 1  # [N, 1]
    precision = (1 + (present / experts.scale.square()).sum(0)) / count
    loc = (present * experts.loc / experts.scale.square()).sum(0) / count / precision
    pool = experts.family(loc, precision.rsqrt()).to_event(1)
    standard = experts.family(torch.zeros_like(loc), torch.ones_like(loc)).to_event(1)
    to_pool, of_prior = divergence(experts.distribution, pool), divergence(standard, pool)
    return (experts.sum_over(to_pool) + of_prior) / count.squeeze(-1)
