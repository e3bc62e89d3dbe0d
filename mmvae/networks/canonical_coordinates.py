"""Coordinates in which views of the same rows agree as far as linear maps of each allow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.collectives import summed
from mmvae.distributions.full_precision import without_autocast
from mmvae.networks.cca import polar_factor

_RIDGE = 1e-3
"""Of the mean variance of a view, added to the diagonal of its covariance."""

_SLOWEST = 0.01
"""The share that a batch has of the moments at least: in the long run they are of the last hundred batches or so."""

_INERTIA = 1e-2
"""How much the rotation of before counts beside the correlations; it decides where these are all but zero."""

_ORTHOGONAL = 1e-6


class CanonicalCoordinates(nn.Module):
    """Whitens each of several views and rotates it towards the others, by running moments of what passed by.

    Each view is whitened by the Cholesky factor of its covariance. The first stays so; each other is rotated such that
    the sum of its correlations with all others, coordinate by coordinate, is the largest. For two views this sum is
    then that of the canonical correlations; for more it is a step of generalised Procrustes analysis at each update.
    Before the first update coordinates are the views themselves.

    In distributed training (within :func:`~mmvae.nn.together`, as in ``fit``), all processes count as one batch.

    Args:
        names: Names of the M views.
        width: D, their width.

    Attributes:
        centre: ``[M, D]``, means.
        maps: ``[M, D, D]``, from a centred view to its coordinates.
        back: ``[M, D, D]``, the inverses.

    Source: Hotelling 1936 for two views; Gower 1975, "Generalized procrustes analysis", on whitened views for more.
    """

    centre: Tensor
    maps: Tensor
    back: Tensor
    count: Tensor
    mean: Tensor
    product: Tensor
    rotation: Tensor

    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        number, identity = len(self.names), torch.eye(width)
        self.register_buffer("centre", torch.zeros(number, width))
        self.register_buffer("maps", identity.repeat(number, 1, 1))
        self.register_buffer("back", identity.repeat(number, 1, 1))
        # Moments of view m over the rows that have m and j: of pairs [M, M], of which the diagonal is m alone.
        self.register_buffer("count", torch.zeros(number, number, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(number, number, width, dtype=torch.float64))
        self.register_buffer("product", torch.zeros(number, number, width, width, dtype=torch.float64))
        self.register_buffer("rotation", identity.repeat(number, 1, 1).double())

    def common(self, names: Sequence[str], views: Float[Tensor, "m N D"]) -> Float[Tensor, "m N D"]:
        """The coordinates of views, in the order of their names."""
        places = [self.names.index(name) for name in names]
        with without_autocast(views):
            centred = views - torch.stack([self.centre[place] for place in places]).unsqueeze(1)
            return centred @ torch.stack([self.maps[place] for place in places]).mT

    def own(self, name: str, coordinates: Float[Tensor, "*P D"]) -> Float[Tensor, "*P D"]:
        """What a view would be at coordinates."""
        place = self.names.index(name)
        with without_autocast(coordinates):
            return coordinates @ self.back[place].mT + self.centre[place]

    @torch.no_grad()
    def update(
        self, names: Sequence[str], views: Float[Tensor, "m N D"], present: Float[Tensor, "m N"] | None = None
    ) -> None:
        """Take a batch of rows in.

        Args:
            names: Names of the views that are there.
            views: Their values.
            present: 1 where a row has a view, 0 where not; ``None`` for 1 everywhere.
        """
        weights = torch.ones_like(views[..., 0]) if present is None else present
        whole = {name: (view, weight) for name, view, weight in zip(names, views, weights, strict=True)}
        nothing = torch.zeros_like(views[0]), torch.zeros_like(weights[0])
        view, weight = (
            torch.stack(each) for each in zip(*(whole.get(name, nothing) for name in self.names), strict=True)
        )
        weight = weight.double()
        view = torch.where(weight.unsqueeze(-1) > 0, view.double(), 0.0)
        count = summed(torch.einsum("mn,jn->mj", weight, weight))
        total = count.clamp(min=1)
        mean = summed(torch.einsum("mnd,jn->mjd", view, weight)) / total.unsqueeze(-1)
        product = summed(torch.einsum("mnd,jne->mjde", view, view)) / total[..., None, None]
        self.count += count
        share = torch.where(count > 0, (count / self.count.clamp(min=1)).clamp_min(_SLOWEST), 0.0)
        self.mean.lerp_(mean, share.unsqueeze(-1).expand_as(mean))
        self.product.lerp_(product, share[..., None, None].expand_as(product))
        self._solve()

    def _solve(self) -> None:
        """Compute the maps from the moments, without waiting for a device."""
        number, _, width = self.mean.shape
        identity = torch.eye(width, dtype=self.mean.dtype, device=self.mean.device)
        outer = self.mean.unsqueeze(-1) * self.mean.transpose(0, 1).unsqueeze(-2)
        covariance = self.product - outer  # of m with j, [M, M, D, D]
        alone = torch.stack([covariance[place, place] for place in range(number)])
        variance = alone.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
        is_spread = variance > 0
        alone = torch.where(is_spread, alone + _RIDGE * variance * identity, identity)
        factor = torch.linalg.cholesky_ex(alone).L
        whitener = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
        crossed = whitener.unsqueeze(1) @ covariance @ whitener.mT.unsqueeze(0)
        rotations = list(self.rotation.unbind())
        for place in range(1, number):
            others = [crossed[place, other] @ rotations[other].mT for other in range(number) if other != place]
            wanted = torch.stack(others).sum(0)
            wanted = wanted / torch.linalg.matrix_norm(wanted).clamp_min(torch.finfo(wanted.dtype).tiny)
            turned = polar_factor((wanted + _INERTIA * rotations[place].mT) / (1 + _INERTIA * width**0.5)).mT
            is_rotation = (turned @ turned.mT - identity).abs().amax() < _ORTHOGONAL  # false of NaN as well
            rotations[place] = torch.where(is_rotation, turned, rotations[place])
        self.rotation.copy_(torch.stack(rotations))
        self.centre.copy_(torch.stack([self.mean[place, place] for place in range(number)]))
        self.maps.copy_(self.rotation @ whitener)
        self.back.copy_(factor @ self.rotation.mT)
