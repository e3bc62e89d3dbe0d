"""The contract suites fail for parts that break the contract, and pass for sound parts that are not the library's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from mmvae import Latents, Modality, models
from mmvae.distributions import product_of_gaussians
from mmvae.likelihoods import Likelihood
from mmvae.models import MultimodalVAE
from mmvae.objectives import SubsetELBO
from mmvae.posteriors import Experts, Fusion, JointPosterior
from mmvae.testing import LikelihoodContract, ModelContract, PosteriorContract


class Tempered(Fusion):
    """A product of experts with half a prior among them."""

    def fuse(self, experts: Experts, members: Tensor | None = None) -> Any:
        loc, scale = product_of_gaussians(
            experts.loc, experts.scale, observed=experts.observed, members=members, prior_precision=0.5
        )
        return dist.Normal(loc, scale).to_event(1)


class TemperedVAE(MultimodalVAE):
    def __init__(self, modalities: Sequence[Modality], latent_dim: int) -> None:
        super().__init__(modalities, latent_dim, joint_posterior=Tempered(), objective=SubsetELBO())


class LogNormal(Likelihood):
    """Positive numbers."""

    hole = 1.0

    def forward(self, parameters: Tensor) -> Any:
        return dist.LogNormal(parameters, 0.5)

    def check_support(self, name: str, data: Tensor) -> None:
        if not bool((data > 0).all()):
            raise ValueError(f"{name}: LogNormal scores positive numbers, got {data.min()}.")


class TestTempered(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return Tempered()


class TestTemperedVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return TemperedVAE(modalities, 2)


class TestLogNormal(LikelihoodContract):
    def make_likelihood(self) -> Likelihood:
        return LogNormal()

    def make_data(self, size: int) -> Tensor:
        return torch.rand(size, *self.shape) + 0.1

    def make_support(self) -> tuple[Tensor, float]:
        return (torch.arange(100_000) + 0.5) / 1000, 0.001

    def make_unscorable(self) -> Sequence[Tensor]:
        return [torch.zeros(2, *self.shape), torch.ones(2, *self.shape, dtype=torch.int64)]


class Deaf(Tempered):
    """Averages all experts, whether they saw anything or not."""

    def fuse(self, experts: Experts, members: Tensor | None = None) -> Any:
        return dist.Normal(experts.loc.mean(0), experts.scale.mean(0)).to_event(1)


class Partial(Tempered):
    """Looks at the modality that comes first."""

    def fuse(self, experts: Experts, members: Tensor | None = None) -> Any:
        return dist.Normal(experts.loc[0], experts.scale[0]).to_event(1)


class Sociable(Tempered):
    """Lets the rows of a batch see each other."""

    def fuse(self, experts: Experts, members: Tensor | None = None) -> Any:
        loc = experts.loc.mean(0)
        return dist.Normal(loc - loc.mean(0), experts.scale.mean(0)).to_event(1)


@pytest.mark.parametrize(
    ("posterior", "broken"),
    [
        (Deaf, "test_absent_experts_do_not_matter"),
        (Partial, "test_the_order_of_names_does_not_matter"),
        (Sociable, "test_rows_are_independent"),
    ],
)
def test_broken_posteriors_are_noticed(posterior: type[JointPosterior], broken: str) -> None:
    class Setting(PosteriorContract):
        def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
            return posterior()

    with pytest.raises(AssertionError):
        getattr(Setting(), broken)()


class Loud(LogNormal):
    """Its densities are all too large by a tenth."""

    def forward(self, parameters: Tensor) -> Any:
        class Louder(dist.LogNormal):
            def log_prob(self, value: Tensor) -> Tensor:
                return super().log_prob(value) + 0.1

        return Louder(parameters, 0.5)


class Rounded(LogNormal):
    """Takes the difference of numbers so large that float32 leaves little of it."""

    def forward(self, parameters: Tensor) -> Any:
        return dist.LogNormal((parameters + 1e6) - 1e6, 0.5)


class Halved(LogNormal):
    """Leaves the decoder's output in half precision."""

    def __call__(self, parameters: Tensor) -> Any:
        return self.forward(parameters)


class Piled(LogNormal):
    """Adds up the log-densities of an event one after the other."""

    def forward(self, parameters: Tensor) -> Any:
        class Pile(dist.Independent):
            def log_prob(self, value: Tensor) -> Tensor:
                return self.base_dist.log_prob(value).flatten().half().cumsum(0)[-1]

        class Piling(dist.LogNormal):
            def to_event(self, count: int | None = None) -> Any:
                return Pile(self, count)

        return Piling(parameters, 0.5)


class Nameless(LogNormal):
    """Does not say which modality it is about."""

    def check_support(self, name: str, data: Tensor) -> None:
        super().check_support("data", data)


class Tolerant(LogNormal):
    """Refuses nothing."""

    def conform(self, name: str, data: Tensor) -> Tensor:
        return data.float()


@pytest.mark.parametrize(
    ("likelihood", "broken"),
    [
        (Loud, "test_total_probability_is_one"),
        (Rounded, "test_float32_scores_as_float64_does"),
        (Halved, "test_half_precision_ends_where_densities_begin"),
        (Piled, "test_large_events_are_summed_without_loss"),
        (Nameless, "test_unscorable_data_is_refused_by_name"),
        (Tolerant, "test_unscorable_data_is_refused_by_name"),
    ],
)
def test_broken_likelihoods_are_noticed(likelihood: type[Likelihood], broken: str) -> None:
    class Setting(TestLogNormal):
        def make_likelihood(self) -> Likelihood:
            return likelihood()

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(Setting(), broken)()


class Boastful(models.MVAE):
    """Its bound is above what it bounds."""

    def elbo(self, *arguments: Any, **options: Any) -> Tensor:
        return super().elbo(*arguments, **options) + 1


class Levelling(models.MVAE):
    """Gives every row the mean of the batch."""

    def elbo(self, *arguments: Any, **options: Any) -> Tensor:
        bounds = super().elbo(*arguments, **options)
        return bounds.mean().expand(len(bounds))


class Counting(models.MVAE):
    """Weighs a row by the number of rows beside it."""

    def log_weights(self, *arguments: Any, **options: Any) -> Tensor:
        weights = super().log_weights(*arguments, **options)
        return weights / weights.shape[1]


class Forgetful(models.MVAE):
    """Reseeds the random generator of the caller."""

    def sample(self, num_samples: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        return super().sample(num_samples)


class Hasty(models.MVAE):
    """Infers from everything, whatever subset is asked for."""

    def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> Latents:
        latents = super().infer(batch, None, observed)
        return Latents(latents.distribution, super().infer(batch, subset, observed).subset)


@pytest.mark.parametrize(
    ("model", "broken"),
    [
        (Boastful, "test_elbo_is_below_the_likelihood"),
        (Levelling, "test_bounds_of_rows_are_their_own"),
        (Counting, "test_bounds_of_rows_are_their_own"),
        (Forgetful, "test_bounds_and_draws_leave_everything_as_it_was"),
        (Hasty, "test_any_subset_in_any_order"),
    ],
)
def test_broken_models_are_noticed(model: type[MultimodalVAE], broken: str) -> None:
    class Setting(ModelContract):
        def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
            return model(modalities, latent_dim=2)  # type: ignore[call-arg]

    with pytest.raises(AssertionError):
        getattr(Setting(), broken)()
