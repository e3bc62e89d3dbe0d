"""How far encodings are from draws of a prior: by a discriminator, a critic, or a kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from mmvae.collectives import gathered, mean_over
from mmvae.networks.frozen_output import frozen_output
from mmvae.networks.mlp import MLP
from mmvae.networks.mmd import mmd
from mmvae.objectives.judging import BY_LOSS, Judge


class Match(nn.Module, ABC):
    """A penalty of points that do not lie as draws of the standard normal do.

    Attributes:
        term: Name of the penalty in the loss.
        judge: What validation compares; where a network is trained against the encoders, its score follows no end.
    """

    term: str
    judge: Judge = Judge("log_likelihood", "higher")

    @abstractmethod
    def forward(self, points: Float[Tensor, "M N D"], weights: Float[Tensor, "M N"]) -> Float[Tensor, ""]:
        """What encoders make small; networks of the match get no gradient.

        Args:
            points: Points of M modalities.
            weights: 1 where a row has the modality, 0 where not.
        """

    def fit_loss(self, points: Float[Tensor, "M N D"], weights: Float[Tensor, "M N"]) -> Float[Tensor, ""]:
        """The loss that trains the networks of the match; zero if it has none."""
        return points.new_zeros(())

    def networks(self) -> Iterator[nn.Parameter]:
        """Weights of the match."""
        return self.parameters()


class Discriminator(Match):
    """A network that tells draws of the prior from points, by logits.

    It minimises the cross-entropy; encoders minimise -log D(point), the loss that does not saturate.

    Args:
        latent_dim: D.
        hidden: Width of the two hidden layers.

    Source: Goodfellow et al. 2014, "Generative adversarial nets"; in a latent space Makhzani et al. 2015.
    """

    term = "adversarial"

    def __init__(self, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.network = MLP((latent_dim, hidden, hidden, 1))

    def forward(self, points: Float[Tensor, "M N D"], weights: Float[Tensor, "M N"]) -> Float[Tensor, ""]:
        """-log D of the points, in nats."""
        return mean_over(softplus(-frozen_output(self.network, points).squeeze(-1)), weights)

    def fit_loss(self, points: Float[Tensor, "M N D"], weights: Float[Tensor, "M N"]) -> Float[Tensor, ""]:
        """Cross-entropy of the two kinds, in nats; the mean over kinds."""
        drawn = softplus(-self.network(torch.randn_like(points)).squeeze(-1))
        encoded = softplus(self.network(points).squeeze(-1))
        return 0.5 * (mean_over(drawn, weights) + mean_over(encoded, weights))


class Critic(Match):
    """A function of slope one that is high at draws of the prior and low at points: their distance by its means.

    Args:
        latent_dim: D.
        hidden: Width of the two hidden layers.
        slope: Weight of the penalty of slopes other than one between points and draws.

    Source: Gulrajani et al. 2017, "Improved training of Wasserstein GANs".
    """

    term = "wasserstein"

    def __init__(self, latent_dim: int, hidden: int, slope: float = 10.0) -> None:
        super().__init__()
        self.network = MLP((latent_dim, hidden, hidden, 1))
        self.slope = slope

    def forward(self, points: Float[Tensor, "M N D"], weights: Float[Tensor, "M N"]) -> Float[Tensor, ""]:
        """The estimated distance: the mean of the critic over the prior less that over the points."""
        drawn = frozen_output(self.network, torch.randn_like(points)).squeeze(-1)
        return mean_over(drawn, weights) - mean_over(frozen_output(self.network, points).squeeze(-1), weights)

    def fit_loss(self, points: Float[Tensor, "M N D"], weights: Float[Tensor, "M N"]) -> Float[Tensor, ""]:
        """Minus the estimated distance, and the penalty of slopes."""
        draws = torch.randn_like(points)
        apart = mean_over(self.network(points).squeeze(-1), weights) - mean_over(
            self.network(draws).squeeze(-1), weights
        )
        share = torch.rand(*points.shape[:-1], 1, dtype=points.dtype, device=points.device)
        between = (share * points + (1 - share) * draws).detach().requires_grad_()
        (slopes,) = torch.autograd.grad(self.network(between).sum(), between, create_graph=True)
        # The gradient of a norm is none at zero, where slopes are of rows that count for nothing.
        norms = (slopes.square().sum(-1) + 1e-12).sqrt()
        return apart + self.slope * mean_over((norms - 1).square(), weights)


class Kernel(Match):
    """The maximum mean discrepancy of the points of each modality from draws, :func:`~mmvae.networks.mmd.mmd`.

    Source: Tolstikhin et al. 2018, "Wasserstein auto-encoders".
    """

    term = "mmd"
    judge = BY_LOSS

    def forward(self, points: Float[Tensor, "M N D"], weights: Float[Tensor, "M N"]) -> Float[Tensor, ""]:
        """The mean over modalities; over the rows of all processes, as each has them all."""
        draws = torch.randn_like(points[0])
        points, weights, draws = gathered(points.transpose(0, 1), weights.transpose(0, 1).contiguous(), draws)
        return mmd(points.transpose(0, 1), draws, weights.transpose(0, 1)).mean()
