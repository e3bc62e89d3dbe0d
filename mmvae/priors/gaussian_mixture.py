"""A mixture of Gaussians as the prior, whose components are clusters of the data."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.choices import check_count
from mmvae.distributions.mixture_of_experts import MixtureOfExperts
from mmvae.priors.base import Prior

_SCALE_FLOOR = 1e-3


class GaussianMixture(Prior):
    """p(z) = Σ_c π_c N(z; μ_c, σ_c²), with diagonal components.

    Args:
        num_components: C, at least 1.
        learned_weights: Learn π; otherwise the components weigh the same.
        learned_scale: Learn σ; otherwise every component has scale one.

    Raises:
        ValueError: For fewer than one component.

    Source: Palumbo et al. 2024 (CMVAE) learns the means and the weights, with scales of one: pass
        ``learned_scale=False`` for that. The means start at draws of N(0, 1), where the authors' code takes U(-1, 1).
    """

    def __init__(self, num_components: int, learned_weights: bool = True, learned_scale: bool = True) -> None:
        super().__init__()
        check_count("num_components", num_components, 1)
        self.num_components = num_components
        self.learned_weights, self.learned_scale = learned_weights, learned_scale

    def build(self) -> None:
        """Means at random, scales of one, equal weights."""
        self.loc = nn.Parameter(torch.randn(self.num_components, self.latent_dim))
        scale = torch.full((self.num_components, self.latent_dim), 1 - _SCALE_FLOOR)
        self.log_scale = nn.Parameter(scale.log(), requires_grad=self.learned_scale)
        self.logits = nn.Parameter(torch.zeros(self.num_components), requires_grad=self.learned_weights)

    def forward(self, context: Tensor | None = None) -> Distribution:
        """p(z), of batch shape ``[]`` and event shape ``[D]``."""
        scale = self.log_scale.exp() + _SCALE_FLOOR
        return MixtureOfExperts(self.loc, scale, self.logits.softmax(0), validate_args=False)

    def responsibilities(self, z: Float[Tensor, "*P D"]) -> Float[Tensor, "*P C"]:
        """p(c | z), the probability of each component given latents."""
        mixture = self()
        assert isinstance(mixture, MixtureOfExperts)
        return mixture.responsibilities(z)

    def start_from(self, z: Float[Tensor, "n D"], generator: torch.Generator) -> None:
        """Means by k-means, scales and weights by the clusters that it finds."""
        from sklearn.cluster import KMeans

        count = min(self.num_components, len(z))
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        found = KMeans(count, n_init=3, random_state=seed).fit(z.double().cpu().numpy())
        cluster = torch.as_tensor(found.labels_, dtype=torch.int64)
        points = z.detach().cpu()
        with torch.no_grad():
            for index in range(count):
                own = points[cluster == index]
                self.loc[index] = own.mean(0).to(self.loc)
                if self.learned_scale:
                    spread = own.std(0, correction=0).clamp(min=0.05)
                    self.log_scale[index] = (spread - _SCALE_FLOOR).log().to(self.loc)
                if self.learned_weights:
                    self.logits[index] = torch.tensor(len(own) / len(points)).log()
