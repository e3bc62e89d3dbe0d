"""The sum of the ELBOs of several subsets (MVAE)."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.distributions import kl_divergence

from mmvae.batch import Batch
from mmvae.objectives.base import Loss, Objective, Trainable, elbo_terms, weighted_sum
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.objectives.traces import log_likelihoods


class SubsetELBO(Objective):
    """ELBO(X) + Σ_m ELBO(x_m) + Σ_k ELBO(X_{S_k}), where the ELBO of a subset scores its members alone.

    Needs a joint posterior that fuses many subsets at once (:class:`~mmvae.posteriors.Product`).

    Args:
        beta: KL weight.
        num_random_subsets: k, drawn anew for each batch among the subsets of two to M - 1 modalities.

    Raises:
        ValueError: for a weight or a number of subsets below zero.

    Source: Wu and Goodman 2018, the sub-sampled training objective.
    """

    def __init__(self, beta: Weight = 1.0, num_random_subsets: int = 0) -> None:
        self.beta = checked("beta", beta)
        if num_random_subsets < 0:
            raise ValueError(f"num_random_subsets: expected at least 0, got {num_random_subsets}.")
        self.num_random_subsets = num_random_subsets

    def __call__(self, model: Trainable, batch: Batch) -> Loss:
        """The loss of a batch; rows that lack every member of a subset add nothing to that subset's ELBO."""
        members = self._members(len(batch.names))  # [S, M]; the whole comes first
        posterior = model.joint_posterior.fuse(model.experts(batch), members.to(batch.device))
        z = posterior.rsample()  # [S, N, D]
        kl = kl_divergence(posterior, model.prior())  # [S, N]
        rows = {name: members[:, index].nonzero().flatten() for index, name in enumerate(batch.names)}
        log_p = log_likelihoods(model, batch, z, {name: index.to(batch.device) for name, index in rows.items()})
        beta = weight_at(self.beta, model.epoch)
        reconstruction = weighted_sum({name: values.sum(0) for name, values in log_p.items()}, model.weights)
        total = (beta * kl.sum(0) - reconstruction).mean()
        return Loss(total, elbo_terms({name: values[0] for name, values in log_p.items()}, kl[0]))

    def _members(self, num_modalities: int) -> Bool[Tensor, "S M"]:
        whole = torch.ones(1, num_modalities, dtype=torch.bool)
        if num_modalities == 1:
            return whole
        singles = torch.eye(num_modalities, dtype=torch.bool)
        if num_modalities == 2 or self.num_random_subsets == 0:
            return torch.cat([whole, singles])
        sizes = torch.randint(2, num_modalities, (self.num_random_subsets, 1))
        ranks = torch.rand(self.num_random_subsets, num_modalities).argsort(1)
        return torch.cat([whole, singles, ranks < sizes])
