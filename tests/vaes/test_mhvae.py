"""MHVAE: the contract, products level by level, and the linear-Gaussian hierarchy whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from objectives.parts import make
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import mmvae
from mmvae import Modality, likelihoods, priors
from mmvae.models import MHVAE, MultimodalVAE
from mmvae.objectives import CrossSubsetELBO
from mmvae.posteriors import Product
from mmvae.testing import ModelContract


class TestMHVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MHVAE(modalities, 2, levels=2, hidden=8)


class TestConditionalMHVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MHVAE(modalities, 1, levels=3, hidden=8, covariates={"age": None})

    def make_covariates(self) -> dict[str, float]:
        return {"age": 0.25}


def randomised(kind: str = "MHVAE", **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """With networks between levels whose every weight counts."""
    torch.manual_seed(0)
    model, data = make(kind, hidden=8, **options)
    with torch.no_grad():
        for parameter in model.joint_posterior.parameters():
            parameter.normal_(std=0.3)
    return model, data


def test_a_single_level_is_the_product_of_experts_with_the_prior() -> None:
    torch.manual_seed(0)
    model, data = make("MHVAE", levels=1)
    parts = ModelContract.make_modalities(None)  # type: ignore[arg-type]
    product = MultimodalVAE(parts, 2, joint_posterior=Product(prior_expert=True), objective=CrossSubsetELBO())
    product.load_state_dict(model.state_dict())
    z = torch.randn(6, 2)
    for subset in ("real", ("bits", "codes"), None):
        one, other = model.infer(data, subset).distribution, product.infer(data, subset).distribution
        torch.testing.assert_close(one.log_prob(z), other.log_prob(z))
    torch.testing.assert_close(model.prior().log_prob(z), product.prior().log_prob(z))


def test_densities_and_draws_are_those_of_loops_over_levels_and_modalities() -> None:
    model, data = randomised(levels=3)
    observed = TestMHVAE().make_observed()
    batch = model.prepare(data, observed)
    with torch.no_grad():
        posterior, experts = model.posterior(batch), model.experts(batch)
        z = torch.randn(6, 6)
        found, noise = posterior.log_prob(z), torch.randn(6, 6)
        drawn = posterior.transform.inv(noise)
        ladder = model.joint_posterior.ladder
        for row in range(6):
            for value, is_drawn in ((z[row], False), (drawn[row], True)):
                total = torch.zeros(())
                for level in range(3):
                    part = value[2 * level : 2 * level + 2]
                    if level:
                        above = value[2 * level - 2 : 2 * level]
                        outputs = ladder.below[level - 1](above)
                        means, precisions = [outputs[:2]], [(-outputs[2:]).exp()]
                    else:
                        means, precisions = [torch.zeros(2)], [torch.ones(2)]
                    for place, name in enumerate(batch.names):
                        if observed[name][row]:
                            loc = experts.loc[place, row, 2 * level : 2 * level + 2]
                            log_variance = 2 * experts.scale[place, row, 2 * level : 2 * level + 2].log()
                            if level:
                                change = ladder.corrections[level - 1](torch.cat([above, loc, log_variance]))
                                loc, log_variance = loc + change[:2], log_variance + change[2:]
                            means.append(loc)
                            precisions.append((-log_variance).exp())
                    precision = sum(precisions)
                    loc = sum(mean * each for mean, each in zip(means, precisions, strict=True)) / precision
                    exact = torch.distributions.Normal(loc, precision.rsqrt())
                    total = total + exact.log_prob(part).sum()
                    if is_drawn:
                        expected = loc + precision.rsqrt() * noise[row, 2 * level : 2 * level + 2]
                        torch.testing.assert_close(part, expected, atol=1e-4, rtol=1e-4)
                if not is_drawn:
                    torch.testing.assert_close(found[row], total, atol=1e-4, rtol=1e-4)


def test_the_loss_is_that_of_its_bounds_by_loops() -> None:
    """The bound of the whole and of each modality, each of which explains all that a row has: by their average."""
    model, data = randomised(levels=2)
    observed = TestMHVAE().make_observed()
    batch = model.prepare(data, observed)
    with torch.no_grad():
        torch.manual_seed(1)
        losses = torch.stack([model.loss(batch).total for _ in range(3000)])
        expected = torch.zeros(())
        variance = torch.zeros(())
        for subset in ((*model.names,), *((name,) for name in model.names)):
            for row in range(6):
                alone = model.prepare({name: data[name][row : row + 1] for name in model.names if observed[name][row]})
                members = [name for name in subset if name in alone.data]
                if not members:
                    continue
                posterior = model.posterior(alone.restrict(members))
                z = posterior.sample((4000,))
                weighted = sum(model.weights[name] * value for name, value in model.score(alone, z).items())
                bound = weighted + model.prior().log_prob(z) - posterior.log_prob(z)
                expected = expected - bound.mean() / 6
                variance = variance + bound.var() / 4000 / 36
    error = (losses.var() / 3000 + variance).sqrt()
    assert (losses.mean() - expected).abs() < 4 * error


def test_a_row_without_a_member_of_a_subset_follows_the_prior() -> None:
    model, data = randomised(levels=2)
    batch = model.prepare(data)
    experts = model.experts(batch)
    nobody = torch.zeros(1, 3, dtype=torch.bool)
    z = torch.randn(1, 6, 4)
    found = model.joint_posterior.fuse(experts, nobody).log_prob(z)
    torch.testing.assert_close(found, model.prior().log_prob(z))


# The linear-Gaussian hierarchy: z_2 ~ N(0, I), z_1 | z_2 ~ N(A z_2, s² I), x_m | z_1 ~ N(W_m z_1 + b_m, σ_m² I).

SLOPES, SPREAD = torch.tensor([1.5, -0.7]), 0.6
NOISES = {"a": 0.8, "b": 1.1}


def yardstick(names: Sequence[str]) -> tuple[MHVAE, dict[str, Tensor], MultivariateNormal]:
    """A model with the exact prior and decoders, and with the exact experts of single modalities; data; its density."""
    torch.manual_seed(3)
    loadings = {name: torch.linalg.qr(torch.randn(4, 2))[0] * torch.tensor([1.3, 0.8]) for name in names}
    offsets = {name: torch.randn(4) for name in names}
    modalities = [
        Modality(
            name,
            (4,),
            likelihoods.Normal(NOISES[name]),
            nn.Identity(),
            lambda latent_dim: nn.Linear(latent_dim, 4),
            transform=None,
        )
        for name in names
    ]
    model = MHVAE(modalities, 2, levels=2, hidden=4)
    ladder = model.joint_posterior.ladder
    with torch.no_grad():
        for parameter in ladder.parameters():
            parameter.zero_()
        ladder.below[0].straight.weight.copy_(torch.diag(SLOPES))
        ladder.below[0].bent[-1].bias[2:] = 2 * torch.tensor(SPREAD).log()
        for name in names:
            w, b, noise = loadings[name], offsets[name], NOISES[name]
            model.decoders[name].weight.copy_(w)
            model.decoders[name].bias.copy_(b)
            squares = w.square().sum(0)  # the columns are orthogonal
            head = model.experts.heads[name].linear
            head.weight.zero_()
            nearest = (w / squares).T  # the least squares of z_1, of variance noise² / squares
            head.weight[2:4], head.bias[2:4] = nearest, -nearest @ b
            head.weight[:2], head.bias[:2] = nearest / SLOPES[:, None], -nearest @ b / SLOPES
            deep = (noise**2 / squares + SPREAD**2) / SLOPES.square()  # of z_2, through z_1
            head.bias[4:6], head.bias[6:8] = deep.log(), (noise**2 / squares).log()
    whole = torch.cat([loadings[name] for name in names])
    covariance = whole @ torch.diag(SLOPES.square() + SPREAD**2) @ whole.T
    covariance = covariance + torch.diag(torch.cat([torch.full((4,), NOISES[name] ** 2) for name in names]))
    exact = MultivariateNormal(torch.cat([offsets[name] for name in names]), covariance)
    drawn = exact.sample((40,))
    return model, dict(zip(names, drawn.split(4, 1), strict=True)), exact


def test_the_bound_of_one_modality_is_its_exact_likelihood() -> None:
    """Its experts are exact at both levels, and so is their product with the priors: every weight is the likelihood."""
    model, data, exact = yardstick(["a"])
    expected = exact.log_prob(data["a"])
    weights = model.log_weights(data, num_samples=20)
    torch.testing.assert_close(weights, expected.expand(20, 40), atol=1e-3, rtol=1e-4)


def test_the_exact_posterior_of_one_modality_is_found() -> None:
    model, data, _ = yardstick(["a"])
    w = model.decoders["a"].weight.detach()
    prior = torch.diag(SLOPES.square() + SPREAD**2)
    gain = prior @ w.T @ torch.linalg.inv(w @ prior @ w.T + NOISES["a"] ** 2 * torch.eye(4))
    expected = (data["a"] - model.decoders["a"].bias.detach()) @ gain.T
    with torch.no_grad():
        draws = model.infer(data).sample(40_000)[..., 2:]
    covariance = prior - gain @ w @ prior
    torch.testing.assert_close(draws.mean(0), expected, atol=0.02, rtol=0.0)
    torch.testing.assert_close(torch.cov(draws[:, 0].T), covariance, atol=0.02, rtol=0.0)


def test_of_several_modalities_the_bound_is_below_the_likelihood_and_samples_come_to_it() -> None:
    """The deepest experts share what they know of the level below, so that their product is too sure."""
    model, data, exact = yardstick(["a", "b"])
    expected = exact.log_prob(torch.cat(list(data.values()), 1))
    with torch.no_grad():
        bound = model.elbo(data, num_samples=500)
    assert bound.mean() < expected.mean() - 0.01
    torch.testing.assert_close(model.log_likelihood(data, num_samples=20_000), expected, atol=0.05, rtol=0.01)


def test_draws_of_the_prior_have_the_moments_of_the_hierarchy() -> None:
    model, *_ = yardstick(["a"])
    draws = model.prior().sample((40_000,))
    shallow = SLOPES.square() + SPREAD**2
    expected = torch.diag(torch.cat([torch.ones(2), shallow]))
    expected[:2, 2:] = expected[2:, :2] = torch.diag(SLOPES)
    torch.testing.assert_close(torch.cov(draws.T), expected, atol=0.06, rtol=0.0)


# Use.


def test_training_uses_the_levels_and_a_run_goes_on(tmp_path: Path) -> None:
    encoder, decoder = (
        partial(mmvae.nn.MLPEncoder, (4,), hidden=(8,)),
        partial(mmvae.nn.MLPDecoder, shape=(4,), hidden=(8,)),
    )

    def new(seed: int) -> MHVAE:
        torch.manual_seed(seed)
        return MHVAE([Modality(n, (4,), likelihoods.Normal(), encoder, decoder) for n in "ab"], 2, levels=2, hidden=8)

    cause = torch.randn(128, 2, generator=torch.Generator().manual_seed(0))
    data = {"a": torch.cat([cause, cause**2], 1), "b": torch.cat([cause.sin(), cause], 1)}
    quiet = partial(mmvae.fit, batch_size=32, progress=False, device="cpu", lr=3e-3)
    whole = quiet(new(0), data, epochs=6)
    quiet(new(0), data, epochs=3, out=tmp_path)
    resumed = quiet(new(5), data, epochs=6, out=tmp_path, resume=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
    again = mmvae.load(tmp_path)
    z = torch.randn(3, 4)
    assert torch.equal(again.prior().log_prob(z), resumed.model.prior().log_prob(z))
    assert whole.metrics[-1]["loss"] < whole.metrics[0]["loss"]


def test_a_prior_can_be_fitted_to_all_levels() -> None:
    """The posterior keeps its conditional normals, and the fitted prior takes their place elsewhere."""
    model, data = randomised(levels=2)
    before = model.infer(data).distribution.log_prob(torch.zeros(6, 4))
    mmvae.fit_prior(model, data, priors.GaussianMixture(2), steps=5)
    assert type(model.prior()).__name__ == "MixtureOfExperts"
    assert torch.equal(model.infer(data).distribution.log_prob(torch.zeros(6, 4)), before)
    assert model.sample(3)["real"].shape == (3, 3)


def test_refinement_raises_the_bound() -> None:
    model, data, _ = yardstick(["a", "b"])
    refined = mmvae.infer(model, data, refine="gradient", steps=20)
    assert refined.elbo_trace is not None
    assert refined.elbo_trace[-1].mean() > refined.elbo_trace[0].mean()


def test_laplace_experts_are_refused() -> None:
    with pytest.raises(ValueError, match="LadderProduct fuses Normal experts"):
        MultimodalVAE(
            ModelContract.make_modalities(None),  # type: ignore[arg-type]
            4,
            joint_posterior=MHVAE(ModelContract.make_modalities(None), 2).joint_posterior,  # type: ignore[arg-type]
            objective=CrossSubsetELBO(),
            family=dist.Laplace,
        )
