"""A product that reconstructs all, experts that reconstruct themselves, and divergences between them (CRMVAE)."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions import divergence
from mmvae.objectives.alignment import divergences_to_experts
from mmvae.objectives.base import Generative, Loss, Objective, make_loss, one_draw, posterior_and_experts, weighted_sum
from mmvae.objectives.judging import BY_LOSS, Judge
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import Experts


class CoordinatedELBO(Objective):
    """1/(2(M+1)) Σ_m w_m (E_q[log p(x_m|z)] + E_{q_m}[log p(x_m|z)]) - β/(M+1) (KL(q || p) + Σ_m KL(q || q_m)).

    q is the joint posterior. Sums are over the modalities that a row has, and M is the number of modalities of the
    model for every row. Of a latent with private columns, each expert is compared in the columns that it speaks of.

    Args:
        beta: KL weight.

    Source: the CRMVAE of Senellart's MultiVae, after the paper of that name (OpenReview Rn8u4MYgeNJ), whose text was
    out of reach; a reconstruction.
    """

    def __init__(self, beta: Weight = 1.0) -> None:
        self.beta = checked("beta", beta)

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the loss, which also holds what experts make of themselves."""
        return BY_LOSS

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch."""
        posterior, experts = posterior_and_experts(model, batch)
        z, _, log_p = scored_jointly_and_alone(model, batch, posterior, experts)
        kl = divergence(posterior, model.prior(batch.context), z)
        apart = experts.sum_over(divergences_to_experts(posterior, experts, z))
        parts = len(model.names) + 1
        scored = weighted_sum({name: value.sum(0) for name, value in log_p.items()}, model.weights)
        total = ((weight_at(self.beta, model.epoch) * (kl + apart) - scored / 2) / parts).mean()
        return make_loss(total, batch, {name: value[0] for name, value in log_p.items()}, kl, alignment=apart.mean())


def scored_jointly_and_alone(
    model: Generative, batch: Batch, posterior: Distribution, experts: Experts
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "M N D"], dict[str, Float[Tensor, "2 N"]]]:
    """A joint draw, a draw of each expert, and log p(x_m | z) at both: first at the joint one, then at m's own.

    Args:
        model: To score by.
        batch: N rows.
        posterior: Joint posterior of the batch.
        experts: Unimodal posteriors of the batch.
    """
    z, own = one_draw(posterior), experts.distribution.rsample()
    rows = _joint_and_own(len(batch.names), batch.device)
    return z, own, model.score(batch, torch.cat([z.unsqueeze(0), own]), dict(zip(batch.names, rows, strict=True)))


@lru_cache
def _joint_and_own(count: int, device: torch.device) -> tuple[Tensor, ...]:
    """For each modality, where the joint draw and its own stand; the same at each step, and so kept on the device."""
    with torch.inference_mode(False):
        return tuple(torch.tensor([0, 1 + index], device=device) for index in range(count))
