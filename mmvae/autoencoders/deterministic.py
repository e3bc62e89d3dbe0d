"""Autoencoders without a posterior: each modality has a point in the latent space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.autoencoders.base import CovariateLevels, MultimodalAutoencoder, Weights, lay_out_images
from mmvae.autoencoders.parts import make_encoders
from mmvae.batch import Batch
from mmvae.distributions import at_least_float32, point_mass, without_autocast
from mmvae.latents import Latents
from mmvae.modality import Modality
from mmvae.objectives import Loss
from mmvae.objectives.base import weighted_sum
from mmvae.posteriors.experts import FeatureEncoders
from mmvae.words import Words, declare_terms

declare_terms(
    Words(
        "log_likelihood",
        "Log-likelihood at the points",
        "Sum over the modalities of a row, given the points that its modalities have in the latent space.",
        unit="nats per datum",
        better="higher",
    ),
    of_bound=True,
)

Penalties = Mapping[str, tuple[float | Tensor, Tensor]]
"""What a loss holds beside the log-likelihoods: a weight and a scalar, by the name of the term."""


class PointEncoders(FeatureEncoders):
    """One encoder and one linear layer per modality, to a point of the latent space.

    Args:
        encoders: ``{name: module [N, *shape] -> [N, features]}``.
        features: ``{name: number of features}``.
        latent_dim: D.
        context_dim: C, number of encoded covariates.
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], features: Mapping[str, int], latent_dim: int, context_dim: int = 0
    ) -> None:
        super().__init__(encoders, features, context_dim)
        self.heads = nn.ModuleDict({name: nn.Linear(features[name], latent_dim) for name in encoders})

    def forward(self, batch: Batch) -> Float[Tensor, "M N D"]:
        """The points of the modalities that the batch holds, in at least float32."""
        return torch.stack([self._point(name, each) for name, each in self.features(batch).items()])

    def _point(self, name: str, features: Tensor) -> Tensor:
        head = cast("nn.Linear", self.heads[name])
        with without_autocast(features):
            return at_least_float32(head(features.to(head.weight.dtype)))


class DeterministicAutoencoder(MultimodalAutoencoder):
    """Encoders that give each modality of a row a point of one latent space, and decoders.

    The latent of a subset is the mean of the points of its members, a point mass: there are no densities, bounds or
    likelihoods. A recipe says how well the points explain the data (:meth:`explain`) and what else its loss holds
    (:meth:`penalties`).

    Args:
        modalities: What the model sees.
        latent_dim: D, size of the latent.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the loss: ``None`` (their own), ``"balanced"``, ``"auto"`` or by name.

    Attributes:
        encoding: Encoders, see :class:`PointEncoders`.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        covariates: CovariateLevels = None,
        weights: Weights = None,
    ) -> None:
        super().__init__(modalities, latent_dim, covariates=covariates, weights=weights)
        encoders, features = make_encoders(self.modalities, {name: self._likelihood(name) for name in self.names})
        self.encoding = PointEncoders(encoders, features, self.latent_dim, self.covariates.size)
        self.add_decoders(encoders)
        lay_out_images(self)

    # What a recipe must say, and may say otherwise.

    @abstractmethod
    def explain(self, batch: Batch, points: Float[Tensor, "M N D"]) -> dict[str, Float[Tensor, "N"]]:
        """log p(x_m | points) of each modality in nats; what it is where the modality is missing does not matter.

        Args:
            batch: N rows that conform.
            points: Points of the modalities of the batch, as :meth:`points` gives them.
        """

    @abstractmethod
    def penalties(self, batch: Batch, points: Float[Tensor, "M N D"]) -> Penalties:
        """Further terms of the loss."""

    def points(self, batch: Batch) -> Float[Tensor, "M N D"]:
        """The point of each modality of the batch, in the coordinates that decoders are asked in."""
        return self.encoding(batch)

    # What it then can do.

    def latents(self, batch: Batch) -> Latents:
        """A point mass at the mean of the points of all that a row has; the batch must conform."""
        points = self.points(batch)
        weights = presence(batch, points).unsqueeze(-1)
        middle = points[0] if len(points) == 1 else (points * weights).sum(0) / weights.sum(0)
        return Latents(point_mass(middle), batch.names, layout=self.layout, covariates=batch.covariates)

    def loss(
        self,
        batch: Batch | Mapping[str, Any],
        observed: Mapping[str, Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> Loss:
        """The training loss of a batch.

        Args:
            batch: N rows.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            covariates: ``{name: numbers [N]}``, beside the data or in the batch.

        Returns:
            ``.total``, a scalar to call ``backward()`` on, mean per row; ``.terms``: log-likelihoods by modality (mean
            over the rows that have it), ``"log_likelihood"``, their sum per row, and the penalties, unweighted.

        Raises:
            ValueError: For data that does not fit.
        """
        prepared = self.prepare(batch, observed, covariates)
        points = self.points(prepared)
        log_p = self.explain(prepared, points)
        rows: dict[str, Tensor] = {}
        if not prepared.complete:
            log_p = {name: torch.where(prepared.observed[name], each, 0.0) for name, each in log_p.items()}
            rows = {name: prepared.observed[name].sum() for name in log_p}
        total = -weighted_sum(log_p, self.weights).mean()
        means = {name: each.mean() for name, each in log_p.items()}
        terms = {name: mean * prepared.size / rows[name].clamp(min=1) if rows else mean for name, mean in means.items()}
        terms["log_likelihood"] = torch.stack(list(means.values())).sum()
        for name, (weight, value) in self.penalties(prepared, points).items():
            total = total + weight * value
            terms[name] = value
        return Loss(total, terms, rows)


def presence(batch: Batch, points: Float[Tensor, "M N D"]) -> Float[Tensor, "M N"]:
    """1 where a row has a modality of the batch, 0 where not."""
    if batch.complete:
        return points.new_ones(()).expand(points.shape[:-1])
    return torch.stack([batch.observed[name] for name in batch.names]).to(points.dtype)
