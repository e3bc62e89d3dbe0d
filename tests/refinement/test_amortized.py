"""Refinement by a trained network: on the yardstick it closes the gap that a bad encoder leaves."""

from __future__ import annotations

import copy
from typing import Any

import jaxtyping
import pyro
import pyro.distributions as dist
import pytest
import torch
from objectives.parts import Parts
from torch import Tensor

import mmvae
from mmvae import Batch, models
from mmvae.models import IterativeVAE
from mmvae.refinement import Amortized, Bound, Gaussian, amortized
from mmvae.refinement.balanced_noise import balanced_noise
from mmvae.testing import LinearGaussian
from mmvae.vaes import iterative

YARDSTICK = LinearGaussian.random({"a": 3, "b": 3}, latent_dim=2, seed=7)
TRAINED_STEPS = 3
UNSEEN = YARDSTICK.sample(256, seed=1)


def train(model: Any, data: dict[str, Tensor], steps: int, lr: float, size: int = 64) -> None:
    """A plain loop over random batches; without checks, which cost more than the steps."""
    batch = model.prepare(data)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    jaxtyping.config.update("jaxtyping_disable", True)
    with pyro.validation_enabled(False):
        for _ in range(steps):
            loss = model.loss(batch[torch.randint(batch.size, (size,))])
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            schedule.step()
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def trained() -> IterativeVAE:
    """True decoders, a joint encoder of random weights that is never trained, and a network that makes up for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = IterativeVAE(
            YARDSTICK.modalities(),
            2,
            num_steps=TRAINED_STEPS,
            trunk_width=16,
            hidden=16,
            refinement_hidden=64,
            frozen=("decoders", "joint_posterior"),
        )
        train(model, YARDSTICK.sample(1024), steps=200, lr=0.01)
        return model


def gaps(trace: Tensor, subset: Any = None) -> Tensor:
    """How far the bound is below the mean-field optimum, mean over the unseen data, ``[steps + 1]``, in nats."""
    return (YARDSTICK.mean_field_elbo(UNSEEN, subset) - trace.double()).mean(1)


@pytest.mark.slow
def test_the_gap_of_a_bad_encoder_is_closed(trained: IterativeVAE) -> None:
    """To 95 % within the steps of training, on data that training did not see; and no step does harm."""
    latents = mmvae.infer(trained, UNSEEN, refine="amortized")
    assert latents.elbo_trace is not None
    assert latents.elbo_trace.shape == (TRAINED_STEPS + 1, 256)
    gap = gaps(latents.elbo_trace)
    assert gap[0] > 2
    assert gap[-1] < 0.05 * gap[0]
    assert (gap.diff() < 0.02).all()
    assert (gap > -1e-3).all()


@pytest.mark.slow
def test_more_steps_than_trained_do_not_collapse(trained: IterativeVAE) -> None:
    latents = mmvae.infer(trained, UNSEEN, refine="amortized", steps=4 * TRAINED_STEPS)
    assert latents.elbo_trace is not None
    gap = gaps(latents.elbo_trace)
    assert len(gap) == 4 * TRAINED_STEPS + 1
    assert (gap[TRAINED_STEPS:] < 0.05 * gap[0]).all()
    assert (gap[TRAINED_STEPS:] < gap[TRAINED_STEPS] + 0.02).all()


@pytest.mark.slow
def test_the_refined_posterior_is_near_the_best(trained: IterativeVAE) -> None:
    """And the gradient, which started from it, finds hardly anything to improve."""
    latents, best = mmvae.infer(trained, UNSEEN, refine="amortized"), YARDSTICK.mean_field(UNSEEN)
    assert (latents.mean.double() - best.mean).abs().mean() < 0.15
    assert ((latents.scale.double() / best.variance.sqrt()).log().abs() < 0.5).all()
    ascended = mmvae.infer(trained, UNSEEN, refine="gradient", steps=40)
    assert ascended.elbo_trace is not None
    assert gaps(ascended.elbo_trace)[-1] < 1e-3


@pytest.mark.slow
def test_the_refined_posterior_is_that_of_the_model(trained: IterativeVAE) -> None:
    """Inference, bounds and likelihoods from all modalities start from it."""
    refined, plain = mmvae.infer(trained, UNSEEN, refine="amortized"), trained.infer(UNSEEN)
    torch.testing.assert_close(plain.mean, refined.mean)
    torch.testing.assert_close(plain.scale, refined.scale)
    with torch.no_grad():
        elbo = trained.elbo(UNSEEN, num_samples=200).double().mean()
    assert refined.elbo_trace is not None
    assert (elbo - refined.elbo_trace[-1].double().mean()).abs() < 0.05
    assert (
        trained.log_likelihood(UNSEEN, num_samples=500).double() - YARDSTICK.log_likelihood(UNSEEN)
    ).abs().mean() < 0.1


# What needs no training.


def noise_of_the_trace(like: Tensor) -> Tensor:
    return balanced_noise(amortized._TRACE_SAMPLES, 2, torch.Generator().manual_seed(1), like)


def make(num_steps: int = 2, **options: Any) -> tuple[IterativeVAE, dict[str, Tensor]]:
    parts = Parts()
    small: dict[str, Any] = {"trunk_width": 4, "hidden": 8, "refinement_hidden": 6}
    model = IterativeVAE(parts.make_modalities(), 2, num_steps=num_steps, **small, **options)
    return model, parts.make_data(12)


@pytest.mark.parametrize("base", ["joint", "mvae", "mvtcae"])
def test_no_step_is_the_start(base: Any) -> None:
    model, data = make(base=base)
    latents = mmvae.infer(model, data, refine="amortized", steps=0)
    with torch.no_grad():
        _, loc, scale = model.joint_posterior.read(model.prepare(data))  # type: ignore[operator]
    assert torch.equal(latents.mean, loc)
    assert torch.equal(latents.scale, scale)
    assert latents.elbo_trace is not None
    assert latents.elbo_trace.shape == (1, 12)


def test_from_a_proper_subset_it_starts_from_the_students() -> None:
    model, data = make()
    for subset in ("real", ("bits", "codes")):
        latents = mmvae.infer(model, data, subset, refine="amortized", steps=0)
        plain = model.infer(data, subset)
        assert latents.subset == plain.subset
        assert torch.equal(latents.mean, plain.mean)
        assert torch.equal(latents.scale, plain.scale)


def test_paths_of_any_length_begin_alike() -> None:
    model, data = make()
    long = mmvae.infer(model, data, refine="amortized", steps=6).elbo_trace
    assert long is not None
    for steps in (0, 1, 4):
        short = mmvae.infer(model, data, refine="amortized", steps=steps).elbo_trace
        assert short is not None
        torch.testing.assert_close(short, long[: steps + 1])
    default = mmvae.infer(model, data, refine="amortized").elbo_trace
    assert default is not None
    assert len(default) == 3


def test_the_path_by_hand() -> None:
    """Each step: the slope at the Gaussian before, under fresh noise in pairs that all rows share; then the network."""
    model, data = make(weights={"real": 3.0}, beta=0.5)
    batch = model.prepare(data)
    bound = Bound(model, batch, {"real": 3.0, "bits": 1.0, "codes": 1.0}, 0.5)
    latents = Amortized(3)(model, batch)
    generator, count = torch.Generator().manual_seed(0), iterative._LEAST_SAMPLES
    with torch.no_grad():
        features, *start = model.joint_posterior.read(batch)  # type: ignore[operator]
        path = [Gaussian(*start)]
        for _ in range(3):
            slope = bound.slope(path[-1], balanced_noise(count, 2, generator, features))
            path.append(model.refinement(features, path[-1], slope))
        trace = torch.stack([bound.at(q, noise_of_the_trace(features)) for q in path])
    torch.testing.assert_close(latents.mean, path[-1].loc)
    torch.testing.assert_close(latents.scale, path[-1].scale)
    assert latents.elbo_trace is not None
    torch.testing.assert_close(latents.elbo_trace, trace)


@pytest.mark.parametrize("subset", ["real", "bits", "codes", ("real", "codes")])
def test_a_subset_is_refined_by_its_members_alone(subset: Any) -> None:
    """Bit by bit the same, whatever the other modalities are, and whether they are there; by the bound of these."""
    model, data = make()
    members = [subset] if isinstance(subset, str) else list(subset)
    other = Parts().make_data(24)
    changed = {name: value if name in members else other[name][12:] for name, value in data.items()}
    found = [
        mmvae.infer(model, each, subset, refine="amortized", steps=3)
        for each in (data, changed, {name: data[name] for name in members})
    ]
    assert found[0].elbo_trace is not None
    for each in found[1:]:
        assert torch.equal(each.mean, found[0].mean)
        assert torch.equal(each.elbo_trace, found[0].elbo_trace)  # type: ignore[arg-type]
    q = Gaussian.of(found[0].distribution)
    with torch.no_grad():
        bound = Bound(model, model.prepare(data).restrict(members), model.weights).at(q, noise_of_the_trace(q.loc))
    torch.testing.assert_close(found[0].elbo_trace[-1], bound)


def test_any_start_is_welcome() -> None:
    """A Gaussian, or a mixture by its moments."""
    model, data = make()
    batch = model.prepare(data)
    start = dist.Normal(torch.full((12, 2), 2.0), 0.3).to_event(1)
    latents = Amortized(0)(model, batch, start)
    assert torch.equal(latents.mean, start.mean)
    mixture = models.MMVAE(Parts().make_modalities(), 2).infer(data).distribution
    latents = Amortized(0)(model, batch, mixture)
    assert torch.equal(latents.mean, mixture.mean)
    torch.testing.assert_close(latents.scale.square(), mixture.variance)
    assert not torch.equal(Amortized(2)(model, batch, start).mean, Amortized(2)(model, batch).mean)


def test_rows_are_independent_and_nothing_is_left_to_chance() -> None:
    model, data = make(num_samples=3)
    before = torch.get_rng_state()
    whole = mmvae.infer(model, data, refine="amortized", steps=4)
    assert torch.equal(torch.get_rng_state(), before)
    again = mmvae.infer(model, data, refine="amortized", steps=4)
    assert torch.equal(again.mean, whole.mean)
    for batch_size in (1, 5):
        split = mmvae.infer(model, data, refine="amortized", steps=4, batch_size=batch_size)
        torch.testing.assert_close(split.mean, whole.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(split.elbo_trace, whole.elbo_trace, rtol=1e-4, atol=1e-4)


def test_rows_that_lack_modalities_are_refined_by_what_they_have() -> None:
    model, data = make()
    data = {name: value[:6] for name, value in data.items()}
    observed = Parts().make_observed()
    noisy = {name: value.clone() for name, value in data.items()}
    noisy["bits"][~observed["bits"]] = 1e30
    found = [mmvae.infer(model, Batch(each, observed), refine="amortized", steps=3) for each in (data, noisy)]
    assert torch.equal(found[0].mean, found[1].mean)
    assert found[0].elbo_trace is not None
    for row in range(6):
        names = [name for name in model.names if observed[name][row]]
        alone = mmvae.infer(model, {name: data[name][row : row + 1] for name in names}, refine="amortized", steps=3)
        torch.testing.assert_close(alone.mean[0], found[0].mean[row], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.elbo_trace[:, 0], found[0].elbo_trace[:, row], rtol=1e-4, atol=1e-4)


def test_a_copy_refines_by_its_own_decoders() -> None:
    model, data = make()
    twin = copy.deepcopy(model)
    before = mmvae.infer(model, data, refine="amortized")
    assert torch.equal(mmvae.infer(twin, data, refine="amortized").mean, before.mean)
    with torch.no_grad():
        for parameter in model.decoders.parameters():
            parameter.mul_(-2.0)
    assert torch.equal(mmvae.infer(twin, data, refine="amortized").mean, before.mean)
    assert not torch.equal(mmvae.infer(model, data, refine="amortized").mean, before.mean)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "JMVAE"])
def test_models_without_a_network_are_refused(kind: str) -> None:
    """With a word on what to do."""
    model = getattr(models, kind)(Parts().make_modalities(), 2)
    with pytest.raises(TypeError, match=rf'{kind} has not learned to refine; take refine="gradient".*IterativeVAE.on'):
        mmvae.infer(model, Parts().make_data(), refine="amortized")
