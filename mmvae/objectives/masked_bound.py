"""A bound of a random part of each row, and of the rest given that part (SetVAE)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.batch import Batch
from mmvae.distributions import divergence
from mmvae.objectives.base import Generative, Loss, Objective, make_loss, weighted_sum
from mmvae.objectives.judging import BY_LOSS, Judge
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import Fusion, JointPosterior


class MaskedBound(Objective):
    """E_{q_s}[Σ_{m in s} w_m log p(x_m|z)] - β KL(q_s || p) + E_q[Σ_{m not in s} w_m log p(x_m|z)] - β KL(q || q_s).

    s is a random part of the modalities of each row, drawn anew at every step: a share ρ ~ U(0, 1) of them is hidden. q
    is the posterior of all that the row has, and q_s that of s, which serves as the prior of the rest. Where s is
    empty, q_s is the standard normal, and the bound is the ELBO.

    Args:
        beta: KL weight.

    Source: Hirt et al. 2024, "Learning multi-modal generative models with permutation-invariant encoders and tighter
    variational objectives". Gradients are plain, where the paper holds the density of the posterior fixed.
    """

    def __init__(self, beta: Weight = 1.0) -> None:
        self.beta = checked("beta", beta)

    def refusal(self, posterior: JointPosterior) -> str | None:
        """Every row has another subset, which only a fusion gives."""
        if isinstance(posterior, Fusion):
            return super().refusal(posterior)
        return (
            "It infers each row from another subset, and this posterior has networks that need all modalities. Pair "
            "the objective with a fusion such as SetPooling, or the posterior with AlignedELBO."
        )

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the loss, of which the ELBO of the whole is not a part."""
        return BY_LOSS

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch."""
        experts, prior = model.experts(batch), model.prior(batch.context)
        observed = experts.weights > 0
        kept = self._kept(observed.T).T & observed  # [M, N]
        everyone = torch.ones(1, len(batch.names), dtype=torch.bool, device=batch.device)
        fuse = cast(Fusion, model.joint_posterior).fuse
        part: Any = fuse(replace(experts, observed=kept), everyone)  # [1, N]
        whole: Any = fuse(experts, everyone)
        z = torch.cat([part.rsample(), whole.rsample()])  # [2, N, D]
        log_p = model.score(batch, z)
        kl_part, kl_rest = divergence(part, prior, z[:1])[0], divergence(whole, part, z[1:])[0]
        scored = {
            name: torch.where(mask, log_p[name][0], log_p[name][1])
            for name, mask in zip(batch.names, kept, strict=True)
        }
        penalty = weight_at(self.beta, model.epoch) * (kl_part + kl_rest)
        total = (penalty - weighted_sum(scored, model.weights)).mean()
        kl = divergence(whole, prior, z[1:])[0]
        return make_loss(total, batch, {name: value[1] for name, value in log_p.items()}, kl)

    def _kept(self, observed: Bool[Tensor, "N M"]) -> Bool[Tensor, "N M"]:
        """The part of each row: each modality is hidden with a chance that is itself drawn for the row."""
        hidden: Float[Tensor, "N 1"] = torch.rand(len(observed), 1, device=observed.device)
        return torch.rand(observed.shape, device=observed.device) >= hidden
