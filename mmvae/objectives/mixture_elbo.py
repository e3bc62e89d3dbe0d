"""The ELBO of a mixture of products (MoPoE)."""

from __future__ import annotations

from torch.distributions import kl_divergence

from mmvae.batch import Batch
from mmvae.objectives.base import Loss, Objective, Trainable, elbo_terms, mixture_posterior, weighted_sum
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.objectives.traces import log_likelihoods


class MixtureELBO(Objective):
    """E_{z ~ mixture}[Σ_m w_m log p(x_m | z)] - β Σ_c weight_c KL(q_c || p), which bounds the ELBO of the mixture.

    One draw per datum: the batch is cut into contiguous parts, one for each component. All modalities are scored at
    every draw.

    Args:
        beta: KL weight.

    Source: Sutter et al. 2021, "Generalized multimodal ELBO"; the cut of the batch is that of its code.
    """

    def __init__(self, beta: Weight = 1.0) -> None:
        self.beta = checked("beta", beta)

    def __call__(self, model: Trainable, batch: Batch) -> Loss:
        """The loss of a batch; a row's mixture is over the components whose modalities it has."""
        posterior = mixture_posterior(model, batch)
        log_p = log_likelihoods(model, batch, posterior.split_rsample())
        kl = (posterior.weights * kl_divergence(posterior.components, model.prior())).sum(0)
        beta = weight_at(self.beta, model.epoch)
        total = (beta * kl - weighted_sum(log_p, model.weights)).mean()
        return Loss(total, elbo_terms(log_p, kl))
