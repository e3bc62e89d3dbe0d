"""The network that proposes the next Gaussian from the present one and the slope of its bound."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.choices import numbers_checked
from mmvae.refinement.bound import Slope
from mmvae.refinement.gaussian import Gaussian

_GATE_BIAS = 2.0
"""Of the gates at the start: they stay near 0.88, so that first updates are small."""


@numbers_checked
class RefinementNetwork(nn.Module):
    """One step of refinement: λ' = g ⊙ λ + (1 - g) ⊙ λ̂, gates g and proposals λ̂ read off highway layers.

    The input is features of the data, the slope of the bound with respect to locations and log-variances, and these
    themselves. Each slope is normalised per datum over the latent dimensions, which throws its length away.

    Args:
        num_features: F, of the data.
        latent_dim: D.
        hidden: width of the highway layers.
        layers: how many.
        slope_lengths: also feed the logarithms of the two lengths.

    Source: Marino, Yue and Mandt 2018, "Iterative amortized inference" (gates, highway layers of ELU); that it is fed
    features in the place of pixels, and normalises per datum, is this library's reconstruction.
    """

    def __init__(
        self, num_features: int, latent_dim: int, *, hidden: int = 256, layers: int = 2, slope_lengths: bool = False
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers: expected at least 1, got {layers}.")
        self.slope_lengths = slope_lengths
        inputs = num_features + 4 * latent_dim + 2 * slope_lengths
        sizes = [inputs, *[hidden] * layers]
        self.layers = nn.Sequential(*map(_Highway, sizes[:-1], sizes[1:]))
        self.gates = nn.Linear(hidden, 2 * latent_dim)
        self.proposals = nn.Linear(hidden, 2 * latent_dim)
        nn.init.constant_(self.gates.bias, _GATE_BIAS)

    def forward(self, features: Float[Tensor, "N F"], q: Gaussian, slope: Slope) -> Gaussian:
        """The next Gaussians."""
        present = torch.cat([q.loc, q.log_variance], -1)
        inputs = [features, _normalised(slope.loc), _normalised(slope.log_variance), present]
        if self.slope_lengths:
            inputs += [_log_length(slope.loc), _log_length(slope.log_variance)]
        h = self.layers(torch.cat(inputs, -1))
        gate = self.gates(h).sigmoid()
        loc, log_variance = (gate * present + (1 - gate) * self.proposals(h)).chunk(2, -1)
        return Gaussian.from_log_variance(loc, log_variance)


class _Highway(nn.Module):
    """h' = q ⊙ carried + (1 - q) ⊙ elu(W h), q = sigmoid(V h); a first layer carries a projection of its input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.transform = nn.Linear(inputs, outputs)
        self.gate = nn.Linear(inputs, outputs)
        self.carry = nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs)

    def forward(self, h: Tensor) -> Tensor:
        gate = self.gate(h).sigmoid()
        return gate * self.carry(h) + (1 - gate) * nn.functional.elu(self.transform(h))


def _normalised(slope: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Without mean, and of unit standard deviation, over the latent dimensions of each datum."""
    centred = slope - slope.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True).sqrt() + 1e-5)


def _log_length(slope: Float[Tensor, "N D"]) -> Float[Tensor, "N 1"]:
    return (slope.norm(dim=-1, keepdim=True) + 1e-5).log()
