"""A mixture whose components are trained each by its own bound (mcVAE)."""

from __future__ import annotations

from mmvae.batch import Batch
from mmvae.choices import check_count
from mmvae.distributions import MixtureOfExperts, divergence
from mmvae.objectives.base import Generative, Loss, joint_posterior, make_loss, weighted_sum
from mmvae.objectives.chunks import ChunkedObjective, ChunkSize, Scores
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import JointPosterior, Mixture


class ComponentELBO(ChunkedObjective):
    """Σ_m (E_{q_m}[Σ_n w_n log p(x_n | z)] - β KL(q_m || p)): each expert explains all modalities that a row has.

    Each summand bounds log p(X), with the KL of the component in the place of that of the mixture.

    Args:
        num_samples: K, draws from each component.
        beta: KL weight.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MVAE`.

    Source: Antelmi et al. 2019, "Sparse multi-channel variational autoencoder for the joint analysis of heterogeneous
    data".
    """

    def __init__(self, num_samples: int = 1, beta: Weight = 1.0, chunk_size: ChunkSize = None) -> None:
        super().__init__(chunk_size)
        check_count("num_samples", num_samples, 1)
        self.num_samples, self.beta = num_samples, checked("beta", beta)

    def refusal(self, posterior: JointPosterior) -> str | None:
        """The bounds are those of the components."""
        if isinstance(posterior, Mixture):
            return None
        return "It adds the bounds of the components of a mixture of experts. Pair the objective with Mixture."

    def __call__(self, model: Generative, batch: Batch) -> Loss:
        """The loss of a batch; terms are means over the components of a row."""
        posterior = joint_posterior(model, batch)
        assert isinstance(posterior, MixtureOfExperts)  # refusal() has made sure
        z = posterior.component_rsample(self.num_samples)  # [K, C, N, D]
        kl = divergence(posterior.components, model.prior(batch.context), z)  # [C, N]

        def score(rows: slice) -> Scores:
            return model.score(batch[rows], z[:, :, rows])

        log_p = {name: each.mean(0) for name, each in self._in_chunks(score, z, axis=2).items()}
        share = posterior.weights
        count = (share > 0).sum(0)
        each = weight_at(self.beta, model.epoch) * kl - weighted_sum(log_p, model.weights)
        total = (count * (share * each).sum(0)).mean()
        return make_loss(
            total, batch, {name: (share * value).sum(0) for name, value in log_p.items()}, (share * kl).sum(0)
        )
