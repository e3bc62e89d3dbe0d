"""Experts that reconstruct themselves alone and share by a data-dependent prior (MMVM)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.distributions import divergence, select_columns
from mmvae.objectives.base import Generative, Loss, Objective, make_loss, weighted_sum
from mmvae.objectives.judging import BY_LOSS, Judge
from mmvae.objectives.schedules import LinearWarmup, Weight, checked, weight_at
from mmvae.posteriors import JointPosterior, Mixture
from mmvae.words import Words, declare_terms

declare_terms(
    Words(
        "divergence",
        "Divergence between experts",
        "Sum of the divergences of the unimodal posteriors from each other, over their number.",
        unit="nats per datum",
        better="lower",
    ),
)


class SoftSharing(Objective):
    """Σ_m w_m E_{q_m}[log p(x_m|z)] - β ((1-α)/n Σ_m Σ_j KL(q_m || q_j) + α Σ_m KL(q_m || p)).

    Each modality decodes draws of its own expert and no other. The n experts of a row share softly: each has the
    mixture of all as its prior, whose divergence the sum over pairs bounds. Private columns have their KL from the
    prior. A row with a single modality takes α = 1.

    It bounds no likelihood of all modalities together, and reports no ELBO.

    Args:
        alpha: Weight of the prior, between 0 and 1: 1 gives independent VAEs. The paper anneals it from 1 to 0.
        beta: KL weight.

    Raises:
        ValueError: For weights out of range.

    Source: Sutter et al. 2024, "Unity by diversity: improved representation learning for multimodal VAEs" (MMVM).
    """

    def __init__(self, alpha: Weight = 0.0, beta: Weight = 1.0) -> None:
        self.alpha, self.beta = checked("alpha", alpha), checked("beta", beta)
        if max(alpha.start, alpha.end) > 1 if isinstance(alpha, LinearWarmup) else alpha > 1:
            raise ValueError(f"alpha: expected a number from 0 to 1, or a schedule between them, got {alpha!r}.")

    def refusal(self, posterior: JointPosterior) -> str | None:
        """What training makes alike is experts."""
        if isinstance(posterior, Mixture):
            return None
        return "It trains experts that are mixed in inference. Pair the objective with Mixture."

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the loss, as there is no ELBO."""
        return BY_LOSS

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch."""
        experts = model.experts(batch)
        z = experts.distribution.rsample()  # [M, N, D]
        places = _places(len(batch.names), batch.device)
        scored = model.score(batch, z, dict(zip(batch.names, places, strict=True)))
        log_p = {name: value[0] for name, value in scored.items()}
        shared, prior = experts.of_shared(), model.prior(batch.context)
        columns = experts.layout.columns()
        own = divergence(shared.distribution, select_columns(prior, columns), z[..., columns])  # [M, N]
        kl = experts.sum_over(own)
        first = shared.family(shared.loc.unsqueeze(1), shared.scale.unsqueeze(1)).to_event(1)
        pairs = divergence(first, shared.distribution)  # [M, M, N]
        both = experts.weights.unsqueeze(1) * experts.weights
        count = experts.weights.sum(0)
        sharing = (both * pairs).sum((0, 1)) / count
        alpha = torch.where(count == 1, 1.0, weight_at(self.alpha, model.epoch))
        penalty = (1 - alpha) * sharing + alpha * kl
        if not experts.layout.is_shared:
            private = slice(experts.layout.shared, None)
            apart = divergence(
                select_columns(experts.distribution, private), select_columns(prior, private), z[..., private]
            )
            penalty = penalty + experts.sum_over(apart)
            kl = kl + experts.sum_over(apart)
        total = (weight_at(self.beta, model.epoch) * penalty - weighted_sum(log_p, model.weights)).mean()
        loss = make_loss(total, batch, log_p, kl, divergence=sharing.mean())
        return Loss(total, {name: term for name, term in loss.terms.items() if name != "elbo"}, loss.rows)


@lru_cache
def _places(count: int, device: torch.device) -> tuple[Tensor, ...]:
    """Where the draw of each modality stands; the same at each step, and so kept on the device."""
    with torch.inference_mode(False):
        return tuple(torch.tensor([index], device=device) for index in range(count))
