"""What every joint posterior must do: inherit, implement the factory method, and let pytest run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions.mixture_of_experts import Family
from mmvae.posteriors import JointPosterior, UnimodalExperts

_FEATURES = 4


class PosteriorContract(ABC):
    """Tests of one joint posterior, over modalities of four numbers each.

    Example:
        .. code-block:: python

            class TestMyPosterior(PosteriorContract):
                def make_posterior(self, names, latent_dim):
                    return MyPosterior()
    """

    names: tuple[str, ...] = ("a", "b", "c")
    """Of the modalities in the tests."""
    family: Family = dist.Normal
    """Of the unimodal experts."""

    @abstractmethod
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        """A joint posterior to test; the same weights at each call, if it has any of its own."""

    def make_experts(self, latent_dim: int = 2) -> UnimodalExperts:
        """Linear experts for all modalities, the same at each call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoders = {name: nn.Sequential(nn.Flatten(), nn.Linear(_FEATURES, 5), nn.Tanh()) for name in self.names}
            return UnimodalExperts(encoders, dict.fromkeys(self.names, 5), latent_dim, self.family)

    def make_batch(self, size: int = 6) -> Batch:
        """Complete data, the same at each call."""
        generator = torch.Generator().manual_seed(1)
        return Batch({name: torch.randn(size, _FEATURES, generator=generator) for name in self.names})

    def infer(self, batch: Batch, latent_dim: int = 2) -> Distribution:
        """The posterior of a batch."""
        return self.make_posterior(self.names, latent_dim)(batch, self.make_experts(latent_dim))

    def test_shapes(self) -> None:
        """Batch shape ``[N]`` and event shape ``[D]``, for every subset, one row or more, one dimension or more."""
        for size in (1, 6):
            for latent_dim in (1, 2):
                for count in range(1, len(self.names) + 1):
                    posterior = self.infer(self.make_batch(size).restrict(self.names[:count]), latent_dim)
                    assert posterior.batch_shape == (size,)
                    assert posterior.event_shape == (latent_dim,)
                    assert posterior.rsample((3,)).shape == (3, size, latent_dim)
                    assert posterior.log_prob(posterior.sample()).isfinite().all()

    def test_draws_match_mean_and_variance(self) -> None:
        """20,000 draws, to within five standard errors."""
        posterior = self.infer(self.make_batch())
        with torch.no_grad():
            draws = posterior.sample(torch.Size((20_000,)))
            centred = draws - posterior.mean
            for values, expected in ((draws, posterior.mean), (centred.square(), posterior.variance)):
                error = (values.mean(0) - expected).abs() / (values.std(0) / len(values) ** 0.5)
                assert error.max() < 5

    def test_density_integrates_to_one(self) -> None:
        """In one dimension, by a sum over a grid."""
        posterior = self.infer(self.make_batch(), latent_dim=1)
        grid = torch.linspace(-40, 40, 40_001)
        with torch.no_grad():
            density = posterior.log_prob(grid[:, None, None].expand(-1, 6, 1)).exp()
        total = density.sum(0) * (grid[1] - grid[0])
        torch.testing.assert_close(total, torch.ones(6), atol=2e-3, rtol=0)

    def test_gradients_reach_every_expert(self) -> None:
        """Draws are differentiable in the parameters of the posterior and of all experts that it looks at."""
        posterior, experts = self.make_posterior(self.names, 2), self.make_experts()
        batch = self.make_batch()
        draws = [posterior(part, experts).rsample((64,)) for part in (batch, *map(batch.restrict, self.names))]
        sum((each.square().sum() for each in draws), start=torch.zeros(())).backward()
        for parameter in (*posterior.parameters(), *experts.parameters()):
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()

    def test_the_order_of_names_does_not_matter(self) -> None:
        """A batch whose modalities come in another order has the same posterior."""
        batch = self.make_batch()
        turned = Batch({name: batch.data[name] for name in reversed(self.names)})
        _assert_same(self.infer(batch), self.infer(turned))

    def test_rows_are_independent(self) -> None:
        """Parts of a batch have the posteriors that they have in the whole."""
        batch = self.make_batch()
        _assert_same(self.infer(batch), self.infer(batch[:2]), slice(0, 2))
        _assert_same(self.infer(batch), self.infer(batch[2:]), slice(2, 6))

    def test_absent_experts_do_not_matter(self) -> None:
        """A row that lacks modalities has the posterior of a batch without them, whatever stands in their place."""
        batch, (first, *others) = self.make_batch(), self.names
        if not others:
            return
        hidden = {name: torch.tensor([False, True, True, False, True, True]) for name in others}
        noisy = {name: torch.where(hidden.get(name, torch.ones(6, dtype=torch.bool))[:, None], value, 1e6)
                 for name, value in batch.data.items()}  # fmt: skip
        incomplete = self.infer(Batch(noisy, hidden))
        rows = torch.tensor([0, 3])
        _assert_same(incomplete, self.infer(batch.restrict(first)[rows]), rows)
        rows = torch.tensor([1, 2, 4, 5])
        _assert_same(incomplete, self.infer(batch[rows]), rows)


def _assert_same(whole: Distribution, part: Distribution, rows: Tensor | slice = slice(None)) -> None:
    """Equal moments, and equal densities at a few points, of some rows of one distribution and another."""
    with torch.no_grad():
        torch.testing.assert_close(part.mean, whole.mean[rows])
        torch.testing.assert_close(part.variance, whole.variance[rows])
        for value in (-1.0, 0.0, 0.7):
            point = torch.full_like(whole.mean, value)
            torch.testing.assert_close(part.log_prob(point[rows]), whole.log_prob(point)[rows], rtol=1e-4, atol=1e-4)
