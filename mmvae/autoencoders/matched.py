"""MAAE and MWAE: every modality's point explains all modalities, and lies as draws of a prior do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from mmvae.autoencoders.base import CovariateLevels, Weights
from mmvae.autoencoders.deterministic import DeterministicAutoencoder, Penalties, presence
from mmvae.autoencoders.matching import Critic, Discriminator, Kernel, Match
from mmvae.autoencoders.sampling import SamplesPrior
from mmvae.batch import Batch
from mmvae.choices import check_choice
from mmvae.modality import Modality
from mmvae.objectives.judging import Judge
from mmvae.objectives.schedules import LinearWarmup, Weight, checked, weight_at
from mmvae.priors import StandardNormal
from mmvae.words import Words, declare_terms

declare_terms(
    Words("adversarial", "Adversarial loss", "-log D of the points of all modalities.", "nats", better="lower"),
    Words("wasserstein", "Wasserstein distance", "Distance of points from the prior, by the critic.",
          "units of the latent", better="lower"),
    Words("mmd", "MMD", "Squared maximum mean discrepancy of points from draws of the prior.", "kernel units",
          better="lower"),
    of_bound=True,
)  # fmt: skip


class MatchedAutoencoder(SamplesPrior, DeterministicAutoencoder):
    """Points that explain every modality and are matched to the standard normal, from which samples are drawn.

    Args:
        modalities: What the model sees.
        latent_dim: D, size of the latent.
        match: Penalty of points that do not lie as draws of the prior do.
        weight: Its weight against log-likelihoods in nats, a number or a schedule.
        inner_steps: Steps of the networks of the match before each step of the others.
        inner_lr: Their learning rate.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the loss: ``None`` (their own), ``"balanced"``, ``"auto"`` or by name.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        match: Match,
        weight: Weight,
        inner_steps: int,
        inner_lr: float,
        covariates: CovariateLevels,
        weights: Weights,
    ) -> None:
        super().__init__(modalities, latent_dim, covariates=covariates, weights=weights)
        self.match, self.match_weight = match, checked(match.term, weight)
        self.inner_steps, self.inner_lr = inner_steps, inner_lr
        self.prior = StandardNormal().for_latent(self.latent_dim, self.covariates.size)

    def explain(self, batch: Batch, points: Float[Tensor, "M N D"]) -> dict[str, Float[Tensor, "N"]]:
        """Each modality by the points of all that a row has, one after another; the mean."""
        weights = presence(batch, points)
        count = weights.sum(0)
        return {name: (weights * each).sum(0) / count for name, each in self.score(batch, points).items()}

    def penalties(self, batch: Batch, points: Float[Tensor, "M N D"]) -> Penalties:
        """That of the match."""
        weight = weight_at(self.match_weight, self.epoch)
        return {self.match.term: (weight, self.match(points, presence(batch, points)))}

    # What validation asks.

    @property
    def settled_after(self) -> float:
        """Number of epochs after which the weight of the match changes no more."""
        return self.match_weight.epochs if isinstance(self.match_weight, LinearWarmup) else 0.0

    def judged_by(self, model: Any) -> Judge:
        """What validation compares."""
        return self.match.judge

    # What the networks of the match are fitted by.

    def inner_parameters(self) -> Iterator[nn.Parameter]:
        """Weights of the match."""
        return self.match.networks()

    def inner_inputs(self, batch: Batch | Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Points of a batch, ``[M, N, D]``, and which of them are there, ``[M, N]``."""
        prepared = self.prepare(batch)
        points = self.points(prepared)
        return points, presence(prepared, points)

    def inner_loss(self, inputs: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
        """The loss that trains the networks of the match."""
        return self.match.fit_loss(*inputs)


class MAAE(MatchedAutoencoder):
    """A multi-view adversarial autoencoder: a discriminator tells the points of modalities from draws of the prior.

    Every modality's encoding is decoded to every modality. The latent of a subset is the mean of the points of its
    members. With ``adversarial=0`` it is the plain autoencoder of several modalities, whose samples mean nothing.

    Trains on incomplete data: sums and means are over what a row has.

    Args:
        modalities: What the model sees.
        latent_dim: D, size of the latent.
        adversarial: Weight of the adversarial loss against log-likelihoods in nats, a number or a schedule.
        hidden: Width of the two hidden layers of the discriminator.
        inner_steps: Steps of the discriminator before each step of the others.
        inner_lr: Its learning rate.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the loss: ``None`` (their own), ``"balanced"``, ``"auto"`` or by name.

    Source: Makhzani et al. 2015, "Adversarial autoencoders"; for several views multi-view-AE, which names no paper.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        adversarial: Weight = 1.0,
        hidden: int = 128,
        inner_steps: int = 1,
        inner_lr: float = 1e-3,
        covariates: CovariateLevels = None,
        weights: Weights = None,
    ) -> None:
        super().__init__(
            modalities,
            latent_dim,
            match=Discriminator(latent_dim, hidden),
            weight=adversarial,
            inner_steps=inner_steps,
            inner_lr=inner_lr,
            covariates=covariates,
            weights=weights,
        )


_WARMED_UP = LinearWarmup(end=10.0, epochs=10.0)

Distance = Literal["mmd", "critic"]
"""A kernel's discrepancy, or the Wasserstein distance by a critic that is trained."""


class MWAE(MatchedAutoencoder):
    """A multi-view Wasserstein autoencoder: points of each modality are drawn to the prior by a distance between both.

    Every modality's encoding is decoded to every modality. The latent of a subset is the mean of the points of its
    members.

    Trains on incomplete data: sums and means are over what a row has.

    Args:
        modalities: What the model sees.
        latent_dim: D, size of the latent.
        distance: ``"mmd"``, by a kernel, without a network that is trained against the others; or ``"critic"``.
        penalty: Weight of the distance against log-likelihoods in nats, a number or a schedule; by default it grows
            from 0 to 10 over 10 epochs. In full from the start it can hold modalities apart: points that already lie as
            the prior asks cannot pass through each other to where they agree.
        hidden: Width of the two hidden layers of the critic.
        inner_steps: Steps of the critic before each step of the others.
        inner_lr: Its learning rate.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the loss: ``None`` (their own), ``"balanced"``, ``"auto"`` or by name.

    Raises:
        ValueError: For an unknown distance.

    Source: Tolstikhin et al. 2018, "Wasserstein auto-encoders", whose second form is ``"mmd"``. The critic is that of
    multi-view-AE, which names no paper, with a bound on its slope, which it lacks.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        distance: Distance = "mmd",
        penalty: Weight = _WARMED_UP,
        hidden: int = 128,
        inner_steps: int = 5,
        inner_lr: float = 1e-3,
        covariates: CovariateLevels = None,
        weights: Weights = None,
    ) -> None:
        check_choice("distance", distance, ("mmd", "critic"))
        super().__init__(
            modalities,
            latent_dim,
            match=Kernel() if distance == "mmd" else Critic(latent_dim, hidden),
            weight=penalty,
            inner_steps=inner_steps,
            inner_lr=inner_lr,
            covariates=covariates,
            weights=weights,
        )
