"""The ELBO of a mixture of products (MoPoE)."""

from __future__ import annotations

from mmvae.batch import Batch
from mmvae.distributions import MixtureOfExperts, divergence
from mmvae.objectives.base import Generative, Loss, Objective, joint_posterior, make_loss, weighted_sum
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import JointPosterior, Mixture, MixtureOfProducts


class MixtureELBO(Objective):
    """E_{z ~ mixture}[Σ_m w_m log p(x_m | z)] - β Σ_c weight_c KL(q_c || p), which bounds the ELBO of the mixture.

    One draw per row. The components are stratified over the rows of the batch in a random order, so that every row may
    draw every component, whatever the size of the batch and the order of its rows. All modalities are scored at every
    draw.

    Args:
        beta: KL weight.

    Source: Sutter et al. 2021, "Generalized multimodal ELBO". Its code cuts the batch into contiguous parts, one for
    each component. That leaves components out of batches smaller than their number, and is not done here.
    """

    def __init__(self, beta: Weight = 1.0) -> None:
        self.beta = checked("beta", beta)

    def refusal(self, posterior: JointPosterior) -> str | None:
        """Only mixtures have components."""
        if isinstance(posterior, Mixture | MixtureOfProducts):
            return None
        return (
            "It averages over the components of a mixture of fixed weights, which this posterior is not. Pair the "
            "objective with Mixture or MixtureOfProducts, or the posterior with ELBO."
        )

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch; a row's mixture is over the components whose modalities it has."""
        posterior = joint_posterior(model, batch)
        assert isinstance(posterior, MixtureOfExperts)  # refusal() has made sure
        log_p = model.score(batch, posterior.batch_rsample())
        each = divergence(posterior.components, model.prior(batch.context))  # [C, N]
        kl = (posterior.weights * each).sum(0)
        total = (weight_at(self.beta, model.epoch) * kl - weighted_sum(log_p, model.weights)).mean()
        return make_loss(total, batch, log_p, kl)
