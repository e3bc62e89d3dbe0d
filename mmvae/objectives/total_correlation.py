"""The total-correlation objective (MVTCAE)."""

from __future__ import annotations

from typing import Literal, get_args

from mmvae.batch import Batch
from mmvae.choices import check_choice
from mmvae.distributions import divergence
from mmvae.objectives.base import Generative, Loss, Objective, make_loss, one_draw, posterior_and_experts, weighted_sum
from mmvae.objectives.schedules import Weight, checked, is_amount, weight_at
from mmvae.words import Words, declare_terms

declare_terms(
    Words(
        "conditional_kl",
        "KL from the experts",
        "Mean divergence of the joint posterior from the unimodal ones.",
        unit="nats per datum",
        better="lower",
    ),
    of_bound=True,
)


Count = Literal["observed", "all"]
"""The M of the formula: the modalities that a row has, or those of the model."""


class TotalCorrelation(Objective):
    """(M-α)/M E_q[Σ_m w_m log p(x_m|z)] - β [(1-α) KL(q(z|X) || p) + α/M Σ_m KL(q(z|X) || q_m(z|x_m))].

    The sums are over the modalities that a row has. What an expert does not speak of, the private columns of others,
    it takes to be standard.

    Args:
        alpha: Between 0 (the plain ELBO) and 1 (the total correlation alone).
        beta: Weight of both KL terms.
        count: The M of the formula. ``"observed"`` takes the number of modalities that each row has: then a row with
            one modality has the weight 1 - α. ``"all"`` takes the number of modalities of the model for every row, and
            such a row weighs (M - α)/M.

    Source: Hwang et al. 2021, "Multi-view representation learning via total correlation objective"; the paper has
    complete rows, for which both counts are the same.
    """

    def __init__(self, alpha: float = 0.9, beta: Weight = 1.0, count: Count = "observed") -> None:
        if not is_amount(alpha) or alpha > 1:
            raise ValueError(f"alpha: expected a number from 0 to 1, got {alpha!r}.")
        check_choice("count", count, get_args(Count))
        self.alpha, self.beta, self.count = alpha, checked("beta", beta), count

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch."""
        posterior, experts = posterior_and_experts(model, batch)
        z = one_draw(posterior)
        log_p = model.score(batch, z)
        kl = divergence(posterior, model.prior(batch.context), z)
        to_each = divergence(posterior, experts.distribution, z.expand(len(experts.names), *z.shape))  # [M, N]
        count = experts.count if self.count == "observed" else len(model.names)
        conditional = experts.sum_over(to_each) / count  # [N]
        penalty = weight_at(self.beta, model.epoch) * ((1 - self.alpha) * kl + self.alpha * conditional)
        total = (penalty - (count - self.alpha) / count * weighted_sum(log_p, model.weights)).mean()
        return make_loss(total, batch, log_p, kl, conditional_kl=conditional.mean())
