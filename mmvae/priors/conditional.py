"""A prior that depends on covariates."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.choices import check_count
from mmvae.networks.heads import NormalHead
from mmvae.priors.base import Prior


class ConditionalNormal(Prior):
    """p(z | c): a normal with independent columns, whose location and scale a network reads off the covariates.

    Args:
        hidden: Width of the network's hidden layer, at least 1.

    Raises:
        ValueError: For a width below 1, or when it is made for a model without covariates.

    Source: Sohn et al. 2015, "Learning structured output representation using deep conditional generative models".
    """

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        check_count("hidden", hidden, 1)
        self.hidden = hidden

    def build(self) -> None:
        """A network of one hidden layer, which starts at the standard normal."""
        if not self.context_dim:
            raise ValueError(
                'prior: ConditionalNormal reads covariates and the model has none; pass covariates={"name": levels} '
                "to the model, or take another prior."
            )
        head = NormalHead(self.hidden, self.latent_dim)
        nn.init.zeros_(head.linear.weight)
        nn.init.zeros_(head.linear.bias)
        self.network = nn.Sequential(nn.Linear(self.context_dim, self.hidden), nn.Tanh(), head)

    def forward(self, context: Tensor | None = None) -> Distribution:
        """p(z | c), of batch shape ``[N]`` and event shape ``[D]``."""
        return dist.Normal(*self.network(context)).to_event(1)
