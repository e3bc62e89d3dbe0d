"""Levels of latents, each given the one above: a conditional prior, and a product with it at every level (MHVAE)."""

from __future__ import annotations

from typing import Any, cast

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.distributions import at_least_float32, without_autocast
from mmvae.distributions.flowed import Flowed
from mmvae.networks.heads import NormalHead
from mmvae.networks.mlp import MLP
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import Experts


class Ladder(nn.Module):
    """L levels of D latents, from the deepest in the first columns to that which decoders read in the last.

    Args:
        width: D, size of each level.
        levels: L.
        hidden: Width of the hidden layer of each network.

    Attributes:
        below: Networks from a level to location and log-variance of the next one under the prior.
        corrections: Networks by which an expert of a level follows the level above it.
    """

    def __init__(self, width: int, levels: int, hidden: int) -> None:
        super().__init__()
        self.width, self.levels = width, levels
        self.below = nn.ModuleList([_Level(width, width, hidden) for _ in range(levels - 1)])
        corrections = [_Level(3 * width, width, hidden) for _ in range(levels - 1)]
        for network in corrections:  # at first experts look at their data alone
            for layer in (network.straight, network.bent[-1]):
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)
        self.corrections = nn.ModuleList(corrections)

    def prior(self, level: int, above: Float[Tensor, "*P D"] | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of p(z_l | z_{l+1}); of the deepest level those of the standard normal."""
        if above is None:
            return torch.zeros_like(like[..., : self.width]), torch.ones_like(like[..., : self.width])
        return NormalHead.read(self.below[level - 1](above))

    def expert(
        self,
        level: int,
        above: Float[Tensor, "*P D"] | None,
        loc: Float[Tensor, "M N D"],
        scale: Float[Tensor, "M N D"],
    ) -> tuple[Tensor, Tensor]:
        """Locations and scales of q_m(z_l | x_m, z_{l+1}), ``[*P, M, N, D]``, of those that look at x_m alone.

        One network serves all modalities.
        """
        if above is None:
            return loc, scale
        log_variance = 2 * scale.log()
        each = above.unsqueeze(-3)
        shape = torch.broadcast_shapes(each.shape, loc.shape)
        inputs = torch.cat([part.expand(shape) for part in (each, loc, log_variance)], -1)
        change = self.corrections[level - 1](inputs)
        return NormalHead.read(torch.cat([loc, log_variance], -1) + change)


class _Level(nn.Module):
    """A linear map to the location, and a network of one hidden layer on top of it to location and log-variance."""

    def __init__(self, inputs: int, width: int, hidden: int) -> None:
        super().__init__()
        self.straight = nn.Linear(inputs, width)
        self.bent = MLP((inputs, hidden, 2 * width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Location and log-variance, one behind the other."""
        straight = self.straight(inputs)
        return self.bent(inputs) + torch.cat([straight, torch.zeros_like(straight)], -1)


class LadderTransform:
    """From the levels to noise and back, level after level; the transform of a :class:`~mmvae.distributions.Flowed`.

    Args:
        ladder: Networks.
        experts: Experts of all levels, ``[M, N, L D]``; ``None`` for the prior.
        presence: 1 where an expert counts, ``[*S, M, N]``.
    """

    def __init__(self, ladder: Ladder, experts: Experts | None = None, presence: Tensor | None = None) -> None:
        self._ladder, self._experts, self._presence = ladder, experts, presence

    def inv(self, noise: Float[Tensor, "*P L_D"]) -> Float[Tensor, "*P L_D"]:
        """Levels, made of noise."""
        with without_autocast(noise):
            made: list[Tensor] = []
            for level, part in enumerate(at_least_float32(noise).split(self._ladder.width, -1)):
                loc, scale = self._moments(level, made[-1] if made else None, part)
                made.append(loc + scale * part)
            return torch.cat(made, -1)

    def call_and_ladj(self, z: Float[Tensor, "*P L_D"]) -> tuple[Float[Tensor, "*Q L_D"], Float[Tensor, "*Q"]]:
        """Noise of which levels are made, and the logarithm of the volume by which the way to it stretches."""
        with without_autocast(z):
            parts = at_least_float32(z).split(self._ladder.width, -1)
            noise, volume = [], torch.zeros_like(z[..., 0])
            for level, part in enumerate(parts):
                loc, scale = self._moments(level, parts[level - 1] if level else None, part)
                noise.append((part - loc) / scale)
                volume = volume - scale.log().sum(-1)
            return torch.cat(noise, -1), volume

    def _moments(self, level: int, above: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of a level: of the prior, times those of the experts that count."""
        loc, scale = self._ladder.prior(level, above, like)
        if self._experts is None:
            return loc, scale
        columns = slice(level * self._ladder.width, (level + 1) * self._ladder.width)
        alone = self._experts.loc[..., columns], self._experts.scale[..., columns]
        locs, scales = self._ladder.expert(level, above, *alone)
        presence = cast("Tensor", self._presence).unsqueeze(-1)
        precisions, own = presence / scales.square(), scale.square().reciprocal()
        total = own + precisions.sum(-3)
        return (own * loc + (precisions * locs).sum(-3)) / total, total.rsqrt()


class LadderProduct(Fusion):
    """q(z | x_S) = Π_l q(z_l | x_S, z_{l+1}): at every level the prior given the level above, times the experts of S.

    q(z_l | x_S, z_{l+1}) ∝ p(z_l | z_{l+1}) Π_{m in S} q_m(z_l | x_m, z_{l+1}). A row that has none of a subset follows
    the prior.

    Args:
        width: Size of each level.
        levels: Number of levels.
        hidden: Width of the hidden layer of each network.

    Source: Dorent et al. 2023, "Unified brain MR-ultrasound synthesis using multi-modal hierarchical representations".
    """

    families = (dist.Normal,)

    def __init__(self, width: int, levels: int, hidden: int) -> None:
        super().__init__()
        self.ladder = Ladder(width, levels, hidden)

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> Flowed:
        """The product at every level, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        presence = experts.presence(members)
        shape = (*presence.shape[:-2], presence.shape[-1], experts.loc.shape[-1])
        noise: Any = dist.Normal(experts.loc.new_zeros(shape), experts.loc.new_ones(shape)).to_event(1)
        return Flowed(noise, LadderTransform(self.ladder, experts, presence))
