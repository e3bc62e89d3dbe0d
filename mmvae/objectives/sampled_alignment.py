"""The ELBO of a joint network, draws of which the posteriors of all other subsets learn (JNF)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.batch import Batch
from mmvae.choices import check_count
from mmvae.distributions import divergence
from mmvae.objectives.base import Generative, Loss, Objective, make_loss, one_draw, posterior_and_experts, weighted_sum
from mmvae.objectives.judging import BY_LOSS, Judge
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import JointNetwork, JointPosterior
from mmvae.subsets import powerset, to_mask


class SampledAlignment(Objective):
    """ELBO(q(z|X)) + α (1/S) Σ_S E_{z ~ q(z|X)}[log q(z | x_S)], where z is held fixed in the second term.

    The second term fits the posteriors of all proper subsets to draws of the joint network, by maximum likelihood: up
    to a constant it is the divergence of the joint posterior from them. It moves neither the joint network nor
    decoders, so that both terms may be trained together or one after the other.

    Args:
        alpha: Weight of the second term.
        beta: KL weight.
        max_subsets: Most subsets of a step; where there are more, single modalities and a sample that is drawn once.

    Raises:
        ValueError: For weights below zero, or fewer than one subset.

    Source: Senellart and Allassonnière 2025, "Bridging the inference gap in multimodal variational autoencoders" (JNF),
    whose flows are fitted to single modalities alone; that all subsets are fitted is this library's.
    """

    def __init__(self, alpha: Weight = 1.0, beta: Weight = 1.0, max_subsets: int = 30) -> None:
        check_count("max_subsets", max_subsets, 1)
        self.alpha, self.beta, self.max_subsets = checked("alpha", alpha), checked("beta", beta), max_subsets

    def refusal(self, posterior: JointPosterior) -> str | None:
        """There must be a network whose draws are fitted, and a posterior that learns of them."""
        if isinstance(posterior, JointNetwork):
            return None
        return (
            "It fits the posteriors of subsets to draws of a joint network, and there is none. Pair the objective with "
            "JointEncoder, or the posterior with SubsetELBO."
        )

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the divergence of the students where they learn alone, otherwise the loss."""
        teacher = cast(JointNetwork, model.joint_posterior)
        own = [each for name, each in teacher.named_parameters() if not name.startswith("between.")]
        return BY_LOSS if any(each.requires_grad for each in own) else Judge("alignment", "lower")

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch that has every modality."""
        posterior, experts = posterior_and_experts(model, batch)
        z = one_draw(posterior)
        log_p = model.score(batch, z)
        kl = divergence(posterior, model.prior(batch.context), z)
        members = _proper_subsets(len(batch.names), self.max_subsets, batch.device)
        students: Any = cast(JointNetwork, model.joint_posterior).between.fuse(experts, members)
        fixed = z.detach()
        log_q = students.log_prob(fixed.expand(len(members), *fixed.shape)).mean(0)
        alpha, beta = weight_at(self.alpha, model.epoch), weight_at(self.beta, model.epoch)
        total = (beta * kl - weighted_sum(log_p, model.weights) - alpha * log_q).mean()
        return make_loss(total, batch, log_p, kl, alignment=(posterior.log_prob(z) - log_q).detach().mean())


@lru_cache
def _proper_subsets(count: int, most: int, device: torch.device) -> Bool[Tensor, "S M"]:
    """Subsets of one to M - 1 modalities (the whole, if there is one); kept on the device, as they do not change."""
    with torch.inference_mode(False):
        names = [str(index) for index in range(count)]
        if count == 1:
            return torch.ones(1, 1, dtype=torch.bool, device=device)
        if 2**count - 2 <= most:
            return to_mask(powerset(names)[:-1], names).to(device)
        generator, chosen = torch.Generator().manual_seed(0), {1 << index for index in range(count)}
        while len(chosen) < most:
            chosen.add(int(torch.randint(1, 2**count - 1, (), generator=generator)))
        return torch.tensor([[bool(bits >> index & 1) for index in range(count)] for bits in sorted(chosen)]).to(device)
