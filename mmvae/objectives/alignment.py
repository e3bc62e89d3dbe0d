"""The ELBO of a joint posterior, with unimodal posteriors aligned to it (JMVAE)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions import divergence, select_columns
from mmvae.objectives.base import Generative, Loss, Objective, make_loss, one_draw, posterior_and_experts, weighted_sum
from mmvae.objectives.schedules import LinearWarmup, Weight, checked, weight_at
from mmvae.posteriors import Experts
from mmvae.words import Words, declare_terms

declare_terms(
    Words(
        "alignment",
        "Alignment",
        "Divergence between the joint posterior and the unimodal ones, summed over the modalities of a row.",
        unit="nats per datum",
        better="lower",
    ),
    of_bound=True,
)


class AlignedELBO(Objective):
    """E_q(z|X)[Σ_m w_m log p(x_m | z)] - β KL(q(z|X) || p) - α Σ_m KL(q(z|X) || q_m(z|x_m)).

    The last sum is over the modalities that a row has. Of a latent with private columns, each expert is aligned in the
    columns that it speaks of.

    Args:
        alpha: Weight of the alignment.
        beta: KL weight.
        warmup_epochs: Epochs over which both weights rise from zero; 0 for none.

    Source: Suzuki et al. 2016 (JMVAE-kl); the warm-up follows MultiVae.
    """

    def __init__(self, alpha: Weight = 0.1, beta: Weight = 1.0, warmup_epochs: float = 0) -> None:
        self.alpha = checked("alpha", alpha)
        self.beta = checked("beta", beta)
        self.warmup: Weight = LinearWarmup(1.0, warmup_epochs) if warmup_epochs else 1.0

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch."""
        posterior, experts = posterior_and_experts(model, batch)
        z = one_draw(posterior)
        log_p = model.score(batch, z)
        kl = divergence(posterior, model.prior(batch.context), z)
        alignment = experts.sum_over(divergences_to_experts(posterior, experts, z))
        alpha, beta = weight_at(self.alpha, model.epoch), weight_at(self.beta, model.epoch)
        penalty = weight_at(self.warmup, model.epoch) * (beta * kl + alpha * alignment)
        total = (penalty - weighted_sum(log_p, model.weights)).mean()
        return make_loss(total, batch, log_p, kl, alignment=alignment.mean())


def divergences_to_experts(posterior: Distribution, experts: Experts, z: Float[Tensor, "N D"]) -> Float[Tensor, "M N"]:
    """KL(q(z|X) || q_m(z|x_m)) for each expert, in nats, over the columns that it speaks of.

    Args:
        posterior: q(z|X), of batch shape ``[N]``.
        experts: Unimodal posteriors.
        z: Draws of the posterior, for pairs without a closed form.
    """
    if experts.layout.is_shared:
        return divergence(posterior, experts.distribution, z.expand(len(experts.names), *z.shape))
    found = []
    for row, name in enumerate(experts.names):  # the columns of each are others
        shared, own = experts.layout.columns(), experts.layout.columns(name)
        parts = []
        for columns in (shared, own) if name in experts.layout.private else (shared,):
            loc, scale = experts.loc[row][..., columns], experts.scale[row][..., columns]
            expert = experts.family(loc, scale).to_event(1)
            parts.append(divergence(select_columns(posterior, columns), expert, z[..., columns]))
        found.append(sum(parts[1:], start=parts[0]))
    return torch.stack(found)
