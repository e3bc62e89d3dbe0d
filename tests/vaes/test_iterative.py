from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jaxtyping
import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.models import IterativeVAE, MultimodalVAE
from mmvae.nn import MLPDecoder, MLPEncoder
from mmvae.objectives import LinearWarmup
from mmvae.posteriors import CorrectedProduct, Product
from mmvae.subsets import powerset
from mmvae.testing import LinearGaussian, ModelContract, exact_model

SMALL: dict[str, Any] = {"trunk_width": 8, "hidden": 16}
REFINER: dict[str, Any] = {"refinement_hidden": 8}


class TestIterativeVAE(ModelContract):
    trains_on_incomplete_data = False

    def make_model(self, modalities: Sequence[Modality]) -> IterativeVAE:
        return IterativeVAE(modalities, latent_dim=2, num_steps=2, trunk_width=8, hidden=16, refinement_hidden=8)


class TestFromMVAE(ModelContract):
    trains_on_incomplete_data = False

    def make_model(self, modalities: Sequence[Modality]) -> IterativeVAE:
        return IterativeVAE(modalities, latent_dim=2, base="mvae", num_steps=1, refinement_hidden=8)


class TestFromMVTCAE(ModelContract):
    trains_on_incomplete_data = False

    def make_model(self, modalities: Sequence[Modality]) -> IterativeVAE:
        options: dict[str, Any] = {"between": "corrected", "num_samples": 2, "slope_lengths": True}
        return IterativeVAE(modalities, latent_dim=2, base="mvtcae", num_steps=1, refinement_hidden=8, **options)


def setting() -> tuple[list[Modality], dict[str, Tensor]]:
    """The contract's modalities and data, but for a scale of the real numbers that is learned."""
    contract = TestIterativeVAE()
    real, *others = contract.make_modalities()
    learned = Modality("real", (3,), likelihoods.Normal("learned"), real.encoder, real.decoder, weight=2.0)
    return [learned, *others], contract.make_data(32)


def make(**options: Any) -> tuple[IterativeVAE, dict[str, Tensor]]:
    modalities, data = setting()
    return IterativeVAE(modalities, 2, **{"num_steps": 2, **SMALL, **REFINER, **options}), data


def fit(model: Any, data: dict[str, Tensor], **options: Any) -> None:
    mmvae.fit(model, data, **{"epochs": 1, "batch_size": 8, "lr": 0.01, "progress": False, "device": "cpu", **options})


def part(model: nn.Module, name: str) -> dict[str, Tensor]:
    """A copy of the weights of a part."""
    return {key: value.clone() for key, value in model.get_submodule(name).state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


# Which posterior it is.


def test_all_modalities_are_refined_and_others_are_not() -> None:
    model, data = make()
    initial = mmvae.infer(model, data, refine="amortized", steps=0)
    assert not torch.allclose(model.infer(data).mean, initial.mean, atol=1e-3)
    assert torch.equal(model.infer(data).mean, mmvae.infer(model, data, refine="amortized").mean)
    batch = model.prepare(data)
    with torch.no_grad():
        experts = model.experts(batch)
        for index, name in enumerate(model.names):
            torch.testing.assert_close(model.infer(data, name).mean, experts.loc[index])
            torch.testing.assert_close(model.infer(data, name).scale, experts.scale[index])
        pair = Product(prior_expert=False)(batch.restrict(["real", "codes"]), model.experts)
    torch.testing.assert_close(model.infer(data, ["real", "codes"]).mean, pair.mean)
    torch.testing.assert_close(model.infer(data, ["real", "codes"]).distribution.variance, pair.variance)


@pytest.mark.parametrize("base", ["joint", "mvae", "mvtcae"])
@pytest.mark.parametrize("between", ["product", "corrected"])
def test_whole_rows_are_refined_and_others_are_the_students(base: Any, between: Any) -> None:
    """Whatever stands beside them, and under the masks."""
    model, data = make(base=base, between=between)
    data = {name: value[:6] for name, value in data.items()}
    observed = {"real": torch.tensor([True, True, False, True, True, False])}
    observed["codes"] = torch.tensor([True, False, True, True, True, False])
    data["real"][~observed["real"]] = float("nan")
    latents = model.infer(data, observed=observed)
    alone = {name: value[[0, 3, 4]] for name, value in data.items()}
    torch.testing.assert_close(latents.mean[[0, 3, 4]], model.infer(alone).mean)
    torch.testing.assert_close(latents.scale[[0, 3, 4]], model.infer(alone).scale)
    students = Product(prior_expert=False) if between == "product" else CorrectedProduct()
    for row, names in ((1, ["real", "bits"]), (2, ["bits", "codes"]), (5, ["bits"])):
        batch = model.prepare({name: data[name][row : row + 1] for name in names})
        with torch.no_grad():
            expected = students(batch, model.experts)
        torch.testing.assert_close(latents.mean[row], expected.mean[0])
        torch.testing.assert_close(latents.distribution.variance[row], expected.variance[0])


def test_inference_leaves_nothing_to_chance() -> None:
    """The posterior is a function of the data and the weights."""
    model, data = make(num_samples=3)
    before = torch.get_rng_state()
    first, second = model.infer(data), model.infer(data)
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.scale, second.scale)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_copy_refines_by_its_own_parts() -> None:
    model, data = make()
    twin, before = copy.deepcopy(model), model.infer(data).mean
    for name in ("decoders", "joint_posterior", "refinement"):
        with torch.no_grad():
            for parameter in model.get_submodule(name).parameters():
                parameter.mul_(-2.0)
    assert torch.equal(twin.infer(data).mean, before)
    assert not torch.equal(model.infer(data).mean, before)


ORTHOGONAL = LinearGaussian.orthogonal({"a": 3, "b": 4, "c": 2}, latent_dim=2, seed=1)


def test_corrected_products_of_exact_students_are_exact() -> None:
    """For every subset but the whole; plain products, which count the prior with each student, are not."""
    exact, data = exact_model(ORTHOGONAL, "JMVAE"), ORTHOGONAL.sample(8)
    corrected, plain = (
        IterativeVAE.on(exact, between=between, num_steps=0, **REFINER) for between in ("corrected", "product")
    )
    for model in (corrected, plain):
        model.experts.load_state_dict(exact.experts.state_dict())
    for subset in powerset(ORTHOGONAL.names):
        posterior = ORTHOGONAL.posterior(data, subset)
        found = corrected.infer(data, subset)
        torch.testing.assert_close(found.mean.double(), posterior.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.scale.double().square(), posterior.variance, rtol=1e-4, atol=1e-6)
        surer = plain.infer(data, subset).scale.double() < posterior.stddev - 1e-3
        assert surer.all() == (len(subset) == 2)


# As programs.


def test_the_guide_shows_its_own_sites_alone() -> None:
    """Though it decodes on its way to the posterior."""
    model, data = make()
    trace = poutine.trace(model.guide).get_trace(data)
    sites = [name for name, site in trace.nodes.items() if site["type"] == "sample"]
    assert sites == ["data", "z"]
    torch.testing.assert_close(trace.nodes["z"]["fn"].mean, model.infer(data).mean)


@pytest.mark.parametrize("elbo", [pyro.infer.Trace_ELBO, pyro.infer.TraceMeanField_ELBO])
def test_particles_at_once(elbo: Any) -> None:
    """Each has the same posterior; and their mean is the model's own estimate, to within five standard errors."""
    model, data = make()
    with pyro.plate("particles", 5, dim=-2):
        trace = poutine.trace(model.guide).get_trace(data)
    assert trace.nodes["z"]["value"].shape == (5, 32, 2)
    torch.testing.assert_close(trace.nodes["z"]["fn"].mean, model.infer(data).mean.expand(5, 32, 2))
    with torch.no_grad():
        estimate = elbo(num_particles=256, vectorize_particles=True).loss(model.model, model.guide, data)
        weights = model.log_weights(data, num_samples=256)
        error = weights.var(0).sum().sqrt() / 16
    assert abs(-estimate - float(weights.mean(0).sum())) < 5 * 2**0.5 * error


# On a generative model that is there.

SOURCES: dict[str, tuple[dict[str, Any], str, type]] = {
    "JMVAE": ({"alpha": 0.2, "beta": 0.7, **SMALL}, "joint", Product),
    "MVAE": ({"beta": 0.7}, "mvae", Product),
    "MVTCAE": ({"beta": 0.7}, "mvtcae", Product),
    "IterativeVAE": ({"beta": 0.7, "base": "mvtcae", "between": "corrected", **REFINER}, "mvtcae", CorrectedProduct),
}
GENERATIVE = ["decoders", "likelihoods", "prior"]


def source(kind: str) -> tuple[Any, dict[str, Tensor]]:
    modalities, data = setting()
    vae = getattr(models, kind)(modalities, 2, weights={"codes": 3.0}, **SOURCES[kind][0])
    fit(vae, data)
    return vae, data


@pytest.mark.parametrize("kind", list(SOURCES))
def test_on_another_model(kind: str) -> None:
    """What was there stays, bit by bit, and so does the source; students move, and the network if it is new."""
    vae, data = source(kind)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    model = IterativeVAE.on(vae, num_steps=2, **REFINER)
    own = "joint_posterior.own" if kind in ("MVAE", "MVTCAE") else "joint_posterior"
    taken_over = [*GENERATIVE, own] + ["refinement"] * (kind == "IterativeVAE")
    counterparts = {name: "experts" if name == "joint_posterior.own" else name for name in taken_over}
    students = part(model, "experts")
    assert not same(students, part(vae, "experts"))
    network = part(model, "refinement")
    assert model.weights == vae.weights == {"real": 2.0, "bits": 1.0, "codes": 3.0}
    assert model.objective.beta == 0.7
    assert isinstance(model.joint_posterior.between, SOURCES[kind][2])  # type: ignore[union-attr]
    assert model.arguments["base"] == SOURCES[kind][1]
    for trained in (False, True):
        if trained:
            fit(model, data)
        for name, counterpart in counterparts.items():
            assert same(part(model, name), part(vae, counterpart)), name
        start = mmvae.infer(model, data, refine="amortized", steps=0)
        steps = {"refine": "amortized", "steps": 0} if kind == "IterativeVAE" else {}
        whole = mmvae.infer(vae, data, **steps)  # type: ignore[arg-type]
        torch.testing.assert_close(start.mean, whole.mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(start.scale, whole.scale, rtol=1e-5, atol=1e-6)
    assert not same(part(model, "experts"), students)
    assert same(part(model, "refinement"), network) == (kind == "IterativeVAE")
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert all(parameter.requires_grad for parameter in vae.parameters())
    assert not {each.data_ptr() for each in vae.parameters()} & {each.data_ptr() for each in model.parameters()}


@pytest.mark.parametrize("beta", [0.7, LinearWarmup(end=2.0, epochs=1.0, start=0.5)])
def test_the_second_of_two_stages_has_the_teacher_of_the_first(beta: Any) -> None:
    """Whatever students are aligned to in it, and however β rose in the first: before and after."""
    model, data = make(beta=beta, align_to="initial")
    fit(model, data)
    for align_to in ("refined", "initial"):
        second = IterativeVAE.on(model, align_to=align_to)
        assert second.objective.align_to == align_to
        for trained in (False, True):
            if trained:
                fit(second, data)
            assert torch.equal(second.infer(data).mean, model.infer(data).mean)
            assert torch.equal(second.infer(data).scale, model.infer(data).scale)
        assert not torch.equal(second.infer(data, "real").mean, model.infer(data, "real").mean)


def test_options_come_before_what_follows_from_the_source() -> None:
    vae, _ = source("JMVAE")
    model = IterativeVAE.on(vae, beta=3.0, weights=None, alpha=0.1, frozen=("decoders",), num_steps=1, **REFINER)
    assert (model.objective.beta, model.objective.alpha, model.num_steps) == (3.0, 0.1, 1)
    assert model.weights == {"real": 2.0, "bits": 1.0, "codes": 1.0}
    assert same(part(model, "decoders"), part(vae, "decoders"))
    frozen = {name.split(".")[0] for name, each in model.named_parameters() if not each.requires_grad}
    assert frozen == {"decoders", "likelihoods"}


@pytest.mark.parametrize("kind", ["MMVAE", "MoPoE"])
def test_mixtures_have_no_single_start(kind: str) -> None:
    vae = getattr(models, kind)(setting()[0], 2)
    with pytest.raises(TypeError, match=rf"{kind}: its joint posterior, Mixture.*, is no single Gaussian.*take JMVAE"):
        IterativeVAE.on(vae)


# What is frozen.


@pytest.mark.parametrize("frozen", [(), ("decoders",), ("joint_posterior", "refinement"), ("experts",)])
def test_frozen_parts_stand_still(frozen: tuple[str, ...]) -> None:
    model, data = make(frozen=frozen)
    still = {name for each in frozen for name in (GENERATIVE if each == "decoders" else [each])}
    before = {name: part(model, name) for name, _ in model.named_children()}
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name.split(".")[0] not in still), name
    fit(model, data)
    for name, weights in before.items():
        assert same(part(model, name), weights) == (name in still or not weights), name


def test_settings_that_there_are_not() -> None:
    modalities, _ = setting()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"base": "mmvae"}, 'base: expected "joint", "mvae" or "mvtcae", got \'mmvae\''),
        ({"between": "mixture"}, 'between: expected "product" or "corrected", got \'mixture\''),
        ({"frozen": ("encoders",)}, "frozen: expected parts among 'decoders', .*'experts', got 'encoders'"),
        ({"refinement_layers": 0}, "layers: expected at least 1"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            IterativeVAE(modalities, 2, **options)


def test_saved_and_loaded_with_what_is_frozen(tmp_path: Path) -> None:
    """From the file alone; of a model on another one too."""
    networks: Any = {
        "encoder": functools.partial(MLPEncoder, (3,), hidden=(5,)),
        "decoder": functools.partial(MLPDecoder, shape=(3,), hidden=(5,)),
    }
    modalities = [Modality(name, (3,), likelihoods.Normal("learned"), **networks) for name in "ab"]
    data = {name: torch.randn(16, 3) for name in "ab"}
    first = IterativeVAE(modalities, 2, num_steps=2, frozen=("refinement",), between="corrected", **SMALL, **REFINER)
    second = IterativeVAE.on(models.MVAE(modalities, 2, beta=LinearWarmup(2.0, start=0.5)), num_steps=1, **REFINER)
    for index, model in enumerate((first, second)):
        fit(model, data)
        loaded = mmvae.load(mmvae.save(model, tmp_path / str(index)))
        assert isinstance(loaded, IterativeVAE)
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
        for (name, parameter), other in zip(model.named_parameters(), loaded.parameters(), strict=True):
            assert parameter.requires_grad == other.requires_grad, name
        for subset in powerset(model.names):
            assert torch.equal(loaded.infer(data, subset).mean, model.infer(data, subset).mean)
        torch.manual_seed(1)
        loss = model.loss(data).total
        torch.manual_seed(1)
        assert torch.equal(loaded.loss(data).total, loss)


# What students learn.

PAIR = LinearGaussian.orthogonal({"a": 3, "b": 3}, latent_dim=2, seed=20)


def teacher() -> MultimodalVAE:
    """Exact means, and variances twice too large."""
    model = exact_model(PAIR, "JMVAE")
    with torch.no_grad():
        model.joint_posterior.head.linear.bias[2:] += torch.tensor(2.0).log()  # type: ignore[union-attr,index,operator]
    return model


def train_students(model: Any, data: dict[str, Tensor], steps: int = 300, lr: float = 0.2) -> None:
    """On all data at once; without checks, which cost more than the steps."""
    batch = model.prepare(data)
    optimizer = torch.optim.Adam(model.experts.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    jaxtyping.config.update("jaxtyping_disable", True)
    with pyro.validation_enabled(False):
        for _ in range(steps):
            optimizer.zero_grad()
            model.loss(batch).total.backward()
            optimizer.step()
            schedule.step()


@pytest.mark.parametrize("direction", ["teacher_first", "student_first"])
def test_students_become_the_best_there_are(direction: Any) -> None:
    """Their mean is the mean of the teacher's means given x_m.

    Their variance is the teacher's and that of these means given x_m together, or, in the other direction, the
    teacher's alone.
    """
    data, unseen = PAIR.sample(4096), PAIR.sample(16, seed=1)
    model = IterativeVAE.on(teacher(), num_steps=0, kl_direction=direction, **REFINER)
    train_students(model, data)
    whole = PAIR.posterior(unseen).variance
    for name in PAIR.names:
        student, alone = model.infer(unseen, name), PAIR.posterior(unseen, name)
        variance = 2 * whole + (alone.variance - whole if direction == "teacher_first" else 0)
        torch.testing.assert_close(student.mean.double(), alone.mean, rtol=0, atol=0.06)
        torch.testing.assert_close(student.scale.double().square(), variance, rtol=0.12, atol=0)
        assert (alone.variance - whole > 0.4 * whole).all()  # so the directions differ
