"""A diffusion as the prior: its density in closed form where that is known, its bound, and what it learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import mmvae
from mmvae import Modality, likelihoods, models, priors
from mmvae.models import MultimodalVAE
from mmvae.priors.diffusion import Velocity
from mmvae.testing import ModelContract


class TestDiffusionPriorMVTCAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return models.MVTCAE(modalities, 2, prior=priors.Diffusion(8, 4))


class TestPrivateConditionalDiffusionPriorMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        prior, private = priors.Diffusion(8, 4), {"real": 1, "codes": 2}
        return models.MVAE(modalities, 2, prior=prior, private_dim=private, covariates={"age": None})

    def make_covariates(self) -> dict[str, float]:
        return {"age": 0.25}


class Gaussian(torch.nn.Module):
    """The right network for N(0, diag(variance))."""

    def __init__(self, variance: Tensor) -> None:
        super().__init__()
        self.variance = variance

    def _slopes(self, angle: Tensor) -> Tensor:
        at = angle.cos().square() * self.variance + angle.sin().square()
        return -angle.cos() * (self.variance - 1) / at

    def forward(self, z: Tensor, angle: Tensor, context: Any) -> Tensor:
        return self._slopes(angle) * z

    def with_divergence(self, z: Tensor, angle: Tensor, context: Any) -> tuple[Tensor, Tensor]:
        return self(z, angle, context), self._slopes(angle).sum().expand(z.shape[:-1])


def right_prior(variance: Tensor, intervals: int = 20) -> priors.Diffusion:
    prior = priors.Diffusion(intervals=intervals).for_latent(len(variance))
    prior.network = Gaussian(variance)
    return prior.eval()


VARIANCE = torch.tensor([4.0, 0.25, 1.0])


def normal(variance: Tensor) -> Any:
    return torch.distributions.Independent(torch.distributions.Normal(torch.zeros_like(variance), variance.sqrt()), 1)


def test_it_begins_as_the_standard_normal() -> None:
    prior = priors.Diffusion().for_latent(3)
    z = torch.randn(50, 3)
    for training in (True, False):  # the bound is then tight, draw by draw
        torch.testing.assert_close(prior.train(training)().log_prob(z), normal(torch.ones(3)).log_prob(z))
    noise = torch.randn(5, 3)
    torch.testing.assert_close(prior().transform.inv(noise), noise)


def test_the_density_of_the_right_network_is_that_of_the_gaussian() -> None:
    prior, exact = right_prior(VARIANCE), normal(VARIANCE)
    z = exact.sample((200,))
    torch.testing.assert_close(prior().log_prob(z), exact.log_prob(z), atol=1e-4, rtol=1e-4)
    noise = torch.randn(200, 3)
    torch.testing.assert_close(prior().transform.inv(noise), noise * VARIANCE.sqrt(), atol=1e-3, rtol=1e-3)


def test_the_error_of_the_solver_falls_with_the_fourth_power_of_its_steps() -> None:
    exact = normal(VARIANCE.double())
    z = exact.sample((50,))
    errors = []
    for intervals in (4, 8, 16):
        found = right_prior(VARIANCE, intervals).double()
        found.network.variance = VARIANCE.double()
        errors.append(float((found().log_prob(z) - exact.log_prob(z)).abs().max()))
    assert errors[1] < errors[0] / 8
    assert errors[2] < errors[1] / 8


def test_the_bound_of_the_right_network_is_the_density() -> None:
    prior, exact = right_prior(VARIANCE).train(), normal(VARIANCE)
    z = exact.sample((4,))
    draws = prior().log_prob(z.expand(20_000, 4, 3))
    error = draws.std(0) / 20_000**0.5
    assert ((draws.mean(0) - exact.log_prob(z)).abs() < 4 * error).all()


def learned(seed: int = 0, size: int = 2, context: int = 0, scale: float = 0.3) -> priors.Diffusion:
    """With weights at random."""
    torch.manual_seed(seed)
    prior = priors.Diffusion(16).for_latent(size, context)
    for parameter in prior.network.last.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return prior


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_of_any_network_is_below_a_density(seed: int) -> None:
    """That of the stochastic way back, which integrates to one: so the bound integrates to less."""
    prior = learned(seed, scale=0.5).train()
    line = torch.linspace(-9, 9, 61)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        bound = torch.stack([prior().log_prob(grid) for _ in range(400)]).double().mean(0)
    total = float(bound.exp().sum()) * float((line[1] - line[0]) ** 2)
    assert 0.5 < total < 1.0


@pytest.mark.parametrize("context", [0, 2])
def test_the_divergence_is_the_trace_of_the_jacobian(context: int) -> None:
    network = Velocity(3, context, 8).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    z, known = torch.randn(5, 3).double(), torch.randn(5, context).double() if context else None
    at = torch.tensor(0.7).double()
    value, divergence = network.with_divergence(z, at, known)
    torch.testing.assert_close(value, network(z, at, known))
    for row in range(5):
        own = None if known is None else known[row]
        jacobian = torch.autograd.functional.jacobian(lambda place, own=own: network(place, at, own), z[row])
        torch.testing.assert_close(divergence[row], jacobian.trace())
    angles = torch.full((5, 1), 0.7).double()
    torch.testing.assert_close(network(z, angles, known), value)


def test_noise_and_latents_lead_to_each_other_and_the_volume_is_that_of_the_jacobian() -> None:
    prior = learned().double().eval()
    prior.loc.copy_(torch.tensor([1.0, -2.0]))
    prior.scale.copy_(torch.tensor([0.5, 3.0]))
    z = prior().sample((6,))
    flow = prior().transform
    noise, volume = flow.call_and_ladj(z)
    torch.testing.assert_close(flow.inv(noise), z, atol=1e-4, rtol=1e-4)
    for row in range(6):
        jacobian = torch.autograd.functional.jacobian(lambda place: flow.call_and_ladj(place)[0], z[row])
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, volume[row], atol=1e-4, rtol=1e-4)


def test_the_density_integrates_to_one_and_is_that_of_the_draws() -> None:
    prior = learned(scale=0.5).eval()
    line = torch.linspace(-9, 9, 301)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        density = prior().log_prob(grid).double().exp()
        cell = float((line[1] - line[0]) ** 2)
        assert float(density.sum()) * cell == pytest.approx(1.0, abs=2e-3)
        draws = prior().sample((40_000,)).double()
    mean = (density[:, None] * grid).sum(0) * cell
    spread = (density[:, None] * (grid - mean).square()).sum(0) * cell
    torch.testing.assert_close(draws.mean(0), mean, atol=0.03, rtol=0.0)
    torch.testing.assert_close(draws.var(0), spread, atol=0.0, rtol=0.03)


def test_gradients_of_density_and_draws_are_those_of_differences() -> None:
    prior = learned().double().eval()
    z = torch.randn(3, 2).double().requires_grad_()
    torch.autograd.gradcheck(lambda place: prior().log_prob(place), (z,))
    prior().log_prob(z).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in prior.parameters())


def test_covariates_are_read() -> None:
    prior = learned(context=1).eval()
    context = torch.tensor([[0.0], [1.0]])
    both = prior(context)
    assert both.batch_shape == (2,)
    z = torch.randn(7, 2, 2)
    found = both.log_prob(z)
    for row in range(2):
        alone = prior(context[row : row + 1]).log_prob(z[:, row : row + 1])
        torch.testing.assert_close(found[:, row : row + 1], alone)
    assert not torch.allclose(both.log_prob(z[:, :1].expand(7, 2, 2))[:, 0], found[:, 1])
    estimate = prior.train()(context).log_prob(z)
    assert estimate.shape == (7, 2)


# What it learns.


def vae_on(latents: Tensor, **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """A model that infers these latents, each all but a point, and its data."""
    modality = Modality("a", (2,), likelihoods.Normal(), torch.nn.Identity(), transform=None)
    vae = models.MVAE([modality], 2, **options)
    with torch.no_grad():
        head = vae.experts.heads["a"].linear
        head.weight.zero_()
        head.bias.zero_()
        head.weight[:2] = torch.eye(2)
        head.bias[2:] = -12.0
    return vae, {"a": latents}


def test_fitted_to_a_gaussian_it_is_the_gaussian() -> None:
    """The divergence from the truth, estimated at new draws, is a hundredth of a nat or so."""
    torch.manual_seed(0)
    truth = torch.distributions.MultivariateNormal(
        torch.tensor([2.0, -1.0]), torch.tensor([[1.0, 0.9], [0.9, 1.5]]) / 4
    )
    vae, data = vae_on(truth.sample((4000,)))
    bounds = mmvae.fit_prior(vae, data, priors.Diffusion(64), steps=600)
    test = truth.sample((4000,))
    with torch.no_grad():
        gap = (truth.log_prob(test) - vae.prior().log_prob(test)).mean()
        standard = (truth.log_prob(test) - normal(torch.ones(2)).log_prob(test)).mean()
    assert standard > 1.0
    assert abs(float(gap)) < 0.03
    assert sum(bounds[-100:]) / 100 == pytest.approx(float(truth.log_prob(test).mean()), abs=0.1)
    draws = vae.prior().sample((20_000,))
    torch.testing.assert_close(draws.mean(0), truth.mean, atol=0.05, rtol=0.0)
    torch.testing.assert_close(torch.cov(draws.T), truth.covariance_matrix, atol=0.04, rtol=0.0)


def test_it_finds_shapes_that_no_gaussian_has() -> None:
    """Five clusters in a ring: far nearer to the truth than the best Gaussian, and its density integrates to one."""
    torch.manual_seed(0)
    angle = 2 * math.pi * torch.arange(5) / 5
    centres = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    truth = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(5)),
        torch.distributions.Independent(torch.distributions.Normal(centres, 0.3), 1),
    )
    latents = truth.sample((4000,))
    vae, data = vae_on(latents)
    mmvae.fit_prior(vae, data, priors.Diffusion(64), steps=1000)
    test = truth.sample((4000,))
    with torch.no_grad():
        gap = float((truth.log_prob(test) - vae.prior().log_prob(test)).mean())
        line = torch.linspace(-4, 4, 201)
        density = vae.prior().log_prob(torch.cartesian_prod(line, line)).exp()
    gaussian = torch.distributions.MultivariateNormal(latents.mean(0), torch.cov(latents.T))
    assert gap < 0.2 * float((truth.log_prob(test) - gaussian.log_prob(test)).mean())
    assert float(density.sum()) * float((line[1] - line[0]) ** 2) == pytest.approx(1.0, abs=0.01)


def test_it_learns_with_the_model_by_the_bound() -> None:
    """The loss in training is a bound by the estimate; validation and likelihoods solve the equation."""
    torch.manual_seed(0)
    vae = models.MVTCAE([Modality(name, (3,), likelihoods.Normal()) for name in "ab"], 2, prior=priors.Diffusion(16, 5))
    centre = 3.0 * torch.randint(0, 2, (256, 1)) - 1.5
    data = {name: centre + 0.3 * torch.randn(256, 3) for name in "ab"}
    mmvae.fit(vae, data, epochs=15, batch_size=64, lr=3e-3, validation=0.25, progress=False)
    assert vae.prior.network.last.weight.abs().max() > 1e-3
    likelihood, bound = vae.log_likelihood(data, num_samples=200).mean(), vae.elbo(data, num_samples=50).mean()
    assert float(bound.detach()) <= float(likelihood) + 0.05


def test_weights_that_are_exponentiated_are_of_the_density() -> None:
    modalities = [Modality(name, (3,), likelihoods.Normal()) for name in "ab"]
    made = {
        objective: models.MMVAE(modalities, 2, objective=objective, num_samples=2, prior=priors.Diffusion(8, 4))
        for objective in ("elbo", "iwae", "dreg")
    }
    z = torch.randn(5, 2)
    for objective, vae in made.items():
        torch.nn.init.normal_(vae.prior.network.last.weight)
        vae.train()
        is_estimated = not torch.equal(vae.prior().log_prob(z), vae.prior().log_prob(z))
        assert is_estimated == (objective == "elbo")


def test_it_is_saved_and_loaded(tmp_path: Any) -> None:
    vae, data = vae_on(torch.randn(100, 2) * 3 + 1)
    mmvae.fit_prior(vae, data, priors.Diffusion(8, 6), steps=20)
    mmvae.save(vae, tmp_path)
    again = mmvae.load(tmp_path, vae_on(torch.zeros(1, 2), prior=priors.Diffusion(8, 6))[0])
    z = torch.randn(4, 2)
    assert again.prior.intervals == 6
    assert torch.equal(again.prior().log_prob(z), vae.prior().log_prob(z))
