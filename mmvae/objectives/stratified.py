"""Objectives of a mixture of experts with K draws from each component (MMVAE)."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from mmvae.batch import Batch
from mmvae.choices import check_count
from mmvae.distributions.components import Components, as_mixture
from mmvae.objectives.base import Generative, Loss, joint_posterior, make_loss, untrained_experts, weighted_sum
from mmvae.objectives.chunks import ChunkedObjective, ChunkSize, Scores
from mmvae.objectives.judging import BY_ELBO, Judge
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import Flow, JointPosterior
from mmvae.words import Words, declare_terms


class Stratified(ChunkedObjective):
    """Draws K latents from each component and weighs them under the mixture:

    log w_ck = Σ_m w_m log p(x_m | z_ck) + β (log p(z_ck) - log q(z_ck)).

    A posterior that is not a mixture is one component.
    """

    bound_name: str | None = None
    """Term of the loss that has the bound in honest nats, where that is not the ELBO."""

    def __init__(self, num_samples: int = 1, beta: Weight = 1.0, chunk_size: ChunkSize = None) -> None:
        check_count("num_samples", num_samples, 1)
        super().__init__(chunk_size)
        self.num_samples = num_samples
        self.beta = checked("beta", beta)

    def refusal(self, posterior: JointPosterior) -> str | None:
        """Networks that see all modalities would be all that is trained."""
        return untrained_experts(posterior)

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch; the components of modalities that a row lacks have weight zero in it."""
        posterior = self._proposal(model, batch)
        draws = posterior.component_rsample(self.num_samples)  # [K, C, N, D]
        z = draws.view_as(draws)  # a path of its own, whose gradient an objective may weigh
        prior, density = model.prior(batch.context), self._density(posterior)

        def score(some: slice) -> Scores:
            part = z[some]
            return {**model.score(batch, part), "z": prior.log_prob(part) - density.log_prob(part)}

        log_p = self._in_chunks(score, z)
        log_ratio = log_p.pop("z")  # no modality bears this name
        beta = weight_at(self.beta, model.epoch)
        log_w = weighted_sum(log_p, model.weights) + beta * log_ratio

        def over_components(values: Float[Tensor, "C N"]) -> Float[Tensor, "N"]:
            return (posterior.weights * values).sum(0)

        maximised = over_components(self._maximised(posterior, draws, z, log_w, beta))
        means = {name: over_components(values.mean(0)) for name, values in log_p.items()}
        bounds = {}
        if self.bound_name is not None:
            honest = self._bound(sum(log_p.values(), start=log_ratio))
            bounds[self.bound_name] = over_components(honest).mean()
        return make_loss(-maximised.mean(), batch, means, -over_components(log_ratio.mean(0)), **bounds)

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the importance-weighted bound in the place of the ELBO, where there is one."""
        judge = super().judged_by(model)
        return Judge(self.bound_name, "higher") if self.bound_name is not None and judge == BY_ELBO else judge

    def _proposal(self, model: Generative, batch: Batch) -> Components:
        """What latents are drawn from, component by component."""
        return as_mixture(joint_posterior(model, batch))

    def _density(self, posterior: Components) -> Components:
        return posterior

    @abstractmethod
    def _bound(self, log_w: Float[Tensor, "K C N"]) -> Float[Tensor, "C N"]:
        """The bound that the draws of each component give."""

    def _maximised(
        self,
        posterior: Components,
        draws: Float[Tensor, "K C N D"],
        z: Float[Tensor, "K C N D"],
        log_w: Float[Tensor, "K C N"],
        beta: float | Tensor,
    ) -> Float[Tensor, "C N"]:
        """What has the value of the bound of the weighted model, and the gradient of the objective."""
        return self._bound(log_w)


class StratifiedELBO(Stratified):
    """(1/M) Σ_m E_{z ~ q_m}[log w]: the ELBO of the mixture, without bias, K draws from each component.

    Args:
        num_samples: K.
        beta: KL weight.
        chunk_size: latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Source: Shi et al. 2019.
    """

    def _bound(self, log_w: Tensor) -> Tensor:
        return log_w.mean(0)


declare_terms(
    Words(
        "iwae", "IWAE bound", "Importance-weighted bound that training raises.", unit="nats per datum", better="higher"
    ),
    of_bound=True,
)


class StratifiedIWAE(Stratified):
    """(1/M) Σ_m E_{z_1..K ~ q_m}[log (1/K) Σ_k w_k], with the gradient that automatic differentiation gives.

    Args:
        num_samples: K.
        beta: weight of log p(z) - log q(z) inside the importance weights; only 1 gives a bound in nats.
        chunk_size: latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Source: Shi et al. 2019, the looser bound, with each component inside its own logarithm.
    """

    bound_name = "iwae"
    weighs_draws = True

    def _bound(self, log_w: Tensor) -> Tensor:
        return log_w.logsumexp(0) - math.log(self.num_samples)


class StratifiedDReG(StratifiedIWAE):
    """The bound of :class:`StratifiedIWAE` with a doubly reparameterised gradient, whose variance is lower.

    With normalised weights ω_k the decoders get Σ_k ω_k ∂ log w_k. For the encoders, the density of the posterior in
    log w_k is held fixed and what that neglects is put back by another path through the draws: with r_j(z) the
    probability that component j gave z, and z_k drawn from component c, they get

    Σ_k ω_k (1 - β (1 - ω_k) r_c) ∂ log w_k / ∂z_k ∂z_k
    - β Σ_k (ω_k - 1/K) (∂r_c / ∂z_k ∂z_k + Σ_{j≠c} r_j ∂ log q_j(z_k)).

    With one component r_c is one, and for β = 1 what is left is ω_k² ∂ log w_k / ∂z_k ∂z_k: the estimator of Tucker et
    al. The code of Shi et al. takes that for mixtures too; but its draws come from one component and are weighed under
    the density of all, and then it is biased for K > 1. The terms with r are this library's correction. 1/K is a
    control variate: the score of the mixture has mean zero over draws from all components.

    Source: Tucker et al. 2019, "Doubly reparameterized gradient estimators for Monte Carlo objectives"; used for
    mixtures by Shi et al. 2019.
    """

    def refusal(self, posterior: JointPosterior) -> str | None:
        """The parameters of a flow's density cannot be held fixed along its draws."""
        if posterior.learns_weights:
            return (
                "Its gradient holds the weights of a mixture fixed, and here they depend on the data. Pair the "
                "posterior with StratifiedELBO or StratifiedIWAE."
            )
        if isinstance(posterior, Flow):
            return (
                "Its gradient needs a density whose parameters are held fixed, and a flow has none. Pair the posterior "
                "with StratifiedIWAE or ELBO."
            )
        return super().refusal(posterior)

    def _density(self, posterior: Components) -> Components:
        return posterior.detach()

    def _maximised(
        self, posterior: Components, draws: Tensor, z: Tensor, log_w: Tensor, beta: float | Tensor
    ) -> Tensor:
        bound = self._bound(log_w)
        if self.num_samples == 1:  # ω is one, and so all corrections are zero
            return bound
        omega = log_w.softmax(0).detach()
        apart = 1 - torch.eye(posterior.num_components, dtype=omega.dtype, device=omega.device).unsqueeze(-1)
        frozen = posterior.detach()

        def correct(some: slice) -> Scores:
            part = draws[some]
            responsibility = frozen.responsibilities(part)  # [k, C, C, N]: of component j for draws from c
            own = responsibility.diagonal(dim1=1, dim2=2).movedim(-1, 1)  # [k, C, N]
            others = responsibility.detach() * apart
            return {"own": own, "score": (others * posterior.component_log_prob(part.detach())).sum(2)}

        correction = self._in_chunks(correct, draws)
        own, score = correction["own"], correction["score"]
        if z.requires_grad:
            path = 1 - beta * (1 - omega).unsqueeze(-1) * posterior.own_share(own.detach())
            z.register_hook(lambda gradient: path * gradient)
        surrogate = (omega * log_w - beta * (omega - 1 / self.num_samples) * (own + score)).sum(0)
        return surrogate + (bound - surrogate).detach()
