"""DCCAE: autoencoders whose points correlate across modalities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from mmvae.autoencoders.base import CovariateLevels, Weights
from mmvae.autoencoders.deterministic import DeterministicAutoencoder, Penalties, presence
from mmvae.batch import Batch
from mmvae.collectives import gathered
from mmvae.modality import Modality
from mmvae.networks.canonical_coordinates import CanonicalCoordinates
from mmvae.networks.cca import CCALoss, CCANorm
from mmvae.words import Words, declare_terms

declare_terms(
    Words(
        "cca",
        "CCA loss",
        "Minus the mean canonical correlation of the points of two modalities, over rows that have both.",
        unit="from -1 to 0",
        better="lower",
    ),
    of_bound=True,
)


class DCCAE(DeterministicAutoencoder):
    """An autoencoder for each modality, whose encodings correlate as far as linear maps of each can make them.

    Canonical correlations do not fix coordinates: each encoding may be mapped linearly without a change. So that
    modalities can be averaged and decoded from each other, the latent is in canonical coordinates, in which encodings
    are white and agree coordinate by coordinate; training keeps the moments that these follow from. A subset is
    inferred by the mean of its members there, and decoder m reads what its own encoding would be at that place.

    Trains on incomplete data: a row that lacks modalities trains the autoencoders of those it has, and the correlation
    of the pairs it has.

    Args:
        modalities: What the model sees.
        latent_dim: D, size of the latent. Batches should have eight times as many rows.
        cca: Weight of the sum of the D canonical correlations, the mean over pairs of modalities, against
            log-likelihoods in nats.
        norm: How correlations are summed up: ``"nuclear"``, their sum; ``"squared"``, that of their squares;
            ``"frobenius"``, its root.
        ridge: That many times the mean variance of an encoding is added to the diagonal of its covariance.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the loss: ``None`` (their own), ``"balanced"``, ``"auto"`` or by name.

    Raises:
        ValueError: For an unknown norm, or a ridge that is not above zero.

    Source: Wang, Arora, Livescu and Bilmes 2015, "On deep multi-view representation learning". The correlations of
    more than two modalities as pairs, and canonical coordinates for subsets, are this library's.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        cca: float = 10.0,
        norm: CCANorm = "nuclear",
        ridge: float = 1e-3,
        covariates: CovariateLevels = None,
        weights: Weights = None,
    ) -> None:
        super().__init__(modalities, latent_dim, covariates=covariates, weights=weights)
        self.cca = cca
        self.correlation = CCALoss(ridge, norm)
        self.coordinates = CanonicalCoordinates(self.names, self.latent_dim)

    def points(self, batch: Batch) -> Float[Tensor, "M N D"]:
        """The encodings, in canonical coordinates; in training their moments move with them."""
        encodings = self.encoding(batch)
        if self.training:
            self.coordinates.update(batch.names, encodings, presence(batch, encodings))
        return self.coordinates.common(batch.names, encodings)

    def explain(self, batch: Batch, points: Float[Tensor, "M N D"]) -> dict[str, Float[Tensor, "N"]]:
        """Each modality by its own point."""
        return {name: self._log_prob(name, point, batch) for name, point in zip(batch.names, points, strict=True)}

    def penalties(self, batch: Batch, points: Float[Tensor, "M N D"]) -> Penalties:
        """``"cca"``, which no linear map of the points changes."""
        losses = []
        for a, b in combinations(range(len(points)), 2):
            pair = points[[a, b]].transpose(0, 1)
            if not batch.complete:
                pair = pair[batch.observed[batch.names[a]] & batch.observed[batch.names[b]]]
            (pair,) = gathered(pair)
            losses.append(self.correlation(pair[:, 0], pair[:, 1]))
        return {"cca": (self.cca * self.latent_dim, torch.stack(losses).mean())} if losses else {}

    def _decode(self, name: str, z: Float[Tensor, "*P D"], context: Tensor | None) -> Tensor:
        return super()._decode(name, self.coordinates.own(name, z), context)
