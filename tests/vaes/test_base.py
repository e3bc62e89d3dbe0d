"""What all models share, at the edges: one modality, twelve, one row, one sample, scalars, copies."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from live_memory import LiveMemory
from torch import nn

from mmvae import Batch, Modality, likelihoods, models
from mmvae.distributions import MixtureOfExperts
from mmvae.models import MultimodalVAE
from mmvae.nn import MLPDecoder, MLPEncoder
from mmvae.objectives import SubsetELBO
from mmvae.posteriors import Product
from mmvae.testing import LinearGaussian, exact_model
from mmvae.training.configuration import describe

KINDS: dict[str, dict[str, Any]] = {
    "MVAE": {},
    "MMVAE": {"num_samples": 2},
    "MoPoE": {},
    "JMVAE": {"trunk_width": 4, "hidden": 8},
    "MVTCAE": {},
}
each_kind = pytest.mark.parametrize("kind", list(KINDS))


def numbers(name: str, size: int = 3, **arguments: Any) -> Modality:
    small: Any = {
        "likelihood": likelihoods.Normal(),
        "encoder": functools.partial(MLPEncoder, (size,), hidden=(5,)),
        "decoder": functools.partial(MLPDecoder, shape=(size,), hidden=(5,)),
    }
    return Modality(name, (size,), **{**small, **arguments})


def make(kind: str, count: int, latent_dim: int = 2) -> tuple[Any, dict[str, torch.Tensor]]:
    names = [f"m{index}" for index in range(count)]
    model = getattr(models, kind)([numbers(name) for name in names], latent_dim, **KINDS[kind])
    return model, {name: torch.randn(4, 3) for name in names}


def exercise(model: Any, data: dict[str, torch.Tensor], num_samples: int = 3) -> None:
    size = len(next(iter(data.values())))
    loss = model.loss(data)
    loss.total.backward()
    assert loss.total.isfinite()
    assert model.infer(data).mean.isfinite().all()
    assert model.elbo(data).shape == (size,)
    assert model.log_likelihood(data, num_samples=num_samples).isfinite().all()
    first = next(iter(data))
    generated = model.generate(model.infer(data, first))
    assert {name: value.shape for name, value in generated.items()} == {name: x.shape for name, x in data.items()}


@each_kind
@pytest.mark.parametrize("count", [1, 2, 12])
def test_any_number_of_modalities(kind: str, count: int) -> None:
    model, data = make(kind, count)
    exercise(model, data)
    assert model.infer(data, list(data)[: count // 2 + 1]).mean.shape == (4, 2)


@each_kind
def test_one_row_one_sample_one_dimension(kind: str) -> None:
    model, data = make(kind, 2, latent_dim=1)
    exercise(model, {name: value[:1] for name, value in data.items()}, num_samples=1)


def test_mopoe_caps_its_subsets() -> None:
    model, data = make("MoPoE", 12)
    posterior = model.infer(data).distribution
    assert isinstance(posterior, MixtureOfExperts)
    assert posterior.num_components == 128


@each_kind
def test_scalar_data(kind: str) -> None:
    """A label and a number, ``[N]`` each, with the default networks."""
    modalities = [Modality("label", (), likelihoods.Categorical(10)), Modality("age", (), likelihoods.Normal())]
    model = getattr(models, kind)(modalities, 2, **KINDS[kind])
    exercise(model, {"label": torch.randint(0, 10, (4,)), "age": torch.randn(4)})


@each_kind
def test_likelihoods_of_every_kind(kind: str) -> None:
    size = {"hidden": (5,)}
    counts = likelihoods.NegativeBinomial()
    modalities = [
        Modality("image", (1, 8, 8), likelihoods.ContinuousBernoulli()),
        Modality("counts", (4,), counts, decoder=functools.partial(MLPDecoder, shape=(4, 2), **size)),
        Modality("heavy", (3,), lambda parameters: dist.StudentT(4.0, parameters, 1.0)),
    ]
    model = getattr(models, kind)(modalities, 2, **KINDS[kind])
    data = {"image": torch.rand(4, 1, 8, 8), "counts": torch.randint(0, 9, (4, 4)), "heavy": torch.randn(4, 3)}
    exercise(model, data)


@each_kind
def test_copies_are_models_of_their_own(kind: str) -> None:
    model, data = make(kind, 2)
    twin = copy.deepcopy(model)
    assert describe(twin) == describe(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not torch.equal(model.infer(data).scale, twin.infer(data).scale)


def test_modalities_can_be_shared_between_models() -> None:
    """Weights stay apart, though both were given the same modules."""
    encoder, likelihood = nn.Linear(3, 4), likelihoods.Normal("learned")
    modalities = [numbers(name, encoder=encoder) for name in "ab"]
    modalities.append(Modality("c", (3,), likelihood))
    first, second = models.MVAE(modalities, 2), models.JMVAE(modalities, 2)
    assert not set(map(id, first.parameters())) & set(map(id, second.parameters()))
    modules = [each for each in second.modules() if isinstance(each, nn.Linear) and each.in_features == 3]
    assert encoder not in modules
    assert torch.equal(first.experts.encoders["a"].weight, encoder.weight)


def test_weights() -> None:
    modalities = [numbers("a", 2, weight=3.0), numbers("b", 8)]
    assert models.MVAE(modalities, 2).weights == {"a": 3.0, "b": 1.0}
    assert models.MVAE(modalities, 2, weights="balanced").weights == {"a": 4.0, "b": 1.0}
    assert models.MVAE(modalities, 2, weights={"b": 0.5}).weights == {"a": 3.0, "b": 0.5}
    for weights, message in (({"c": 1.0}, "'c' is no modality"), ({"a": 0.0}, "above 0"), ("even", "balanced")):
        with pytest.raises(ValueError, match=message):
            models.MVAE(modalities, 2, weights=weights)  # type: ignore[arg-type]


def test_constructor_arguments_are_remembered() -> None:
    modalities = [numbers("a"), numbers("b")]
    assert models.MMVAE(modalities, 3, num_samples=4).arguments == {
        "modalities": modalities,
        "latent_dim": 3,
        "num_samples": 4,
    }


@pytest.mark.parametrize(
    ("modalities", "latent_dim", "error", "message"),
    [
        ([], 2, ValueError, "at least one"),
        ([numbers("a"), numbers("a")], 2, ValueError, "duplicate names 'a'"),
        (["a"], 2, TypeError, "Modality"),
        (numbers("a"), 2, TypeError, "modalities: expected several, got 'a' alone; put it in a list"),
        ([numbers("a")], 0, ValueError, "latent_dim"),
        ([numbers("a")], 4.0, TypeError, r"latent_dim: expected a whole number, got 4\.0"),
        ([numbers("a")], "4", TypeError, "latent_dim: expected a whole number, got '4'"),
        ([numbers("a", encoder=nn.Linear(4, 2))], 2, ValueError, "a: encoder cannot take"),
        ([numbers("a", encoder=nn.Unflatten(1, (3, 1)))], 2, ValueError, "a: the encoder must give features"),
        ([numbers("a", encoder=lambda: 3)], 2, TypeError, "a: encoder"),
        ([numbers("a", decoder=lambda size: nn.Linear(size, 4))], 2, ValueError, r"a: the decoder must give \[N, 3\]"),
        ([numbers("a", decoder=lambda size: nn.Linear(7, 3))], 2, ValueError, "a: decoder cannot take"),
        ([numbers("a", decoder=lambda size: 3)], 2, TypeError, "a: decoder"),
    ],
)
def test_models_that_cannot_be(modalities: Any, latent_dim: Any, error: type, message: str) -> None:
    for kind in (*KINDS, "IterativeVAE"):
        with pytest.raises(error, match=message):
            getattr(models, kind)(modalities, latent_dim)


@pytest.mark.parametrize(
    ("likelihood", "error", "message"),
    [
        (lambda loc: torch.distributions.StudentT(4.0, loc), TypeError, r"it gave torch\..*StudentT; take one of pyro"),
        (lambda loc: loc, TypeError, r"a distribution of Pyro, it gave torch\.Tensor"),
        (lambda loc, scale: dist.Normal(loc, scale), ValueError, r"cannot take the decoder's output \(2, 3\).*'scale'"),
        (lambda loc: dist.Exponential(-loc.exp()), ValueError, r"cannot take the decoder's output \(2, 3\).*rate"),
        (lambda loc: dist.Normal(loc.sum(-1), 1.0), ValueError, r"shape \(2, 3\).* gave one of batch shape \(2,\)"),
        (lambda loc: dist.Normal(loc, torch.ones(4, 1, 1)), ValueError, r"gave one of batch shape \(4, 2, 3\)"),
        (lambda loc: dist.Normal(loc, 1.0).to_event(2), ValueError, r"batch shape \(\) and event shape \(2, 3\)"),
    ],
)
def test_likelihoods_that_cannot_be(likelihood: Any, error: type, message: str) -> None:
    """Named when the model is built, rather than in the midst of training."""
    for networks in ({}, {"encoder": None, "decoder": None}):
        with pytest.raises(error, match=rf"^b: .*likelihood .*{message}"):
            models.MVAE([numbers("a"), numbers("b", likelihood=likelihood, **networks)], 2)


def test_likelihoods_are_tried_on_what_their_decoder_gives() -> None:
    def positive(size: int) -> nn.Module:
        return nn.Sequential(nn.Linear(size, 3), nn.Softplus())

    waiting = numbers("b", likelihood=lambda rates: dist.Exponential(rates), decoder=positive)
    data = {"a": torch.randn(4, 3), "b": torch.rand(4, 3)}
    exercise(models.MVAE([numbers("a"), waiting], 2), data)
    modes = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    models.MVAE([numbers("a", decoder=lambda size: modes)], 2)
    assert modes.training
    assert modes[1].num_batches_tracked == 0


@each_kind
def test_latent_sizes_of_numpy(kind: str) -> None:
    size: Any = np.int64(2)
    with pytest.raises(TypeError, match="latent_dim"):
        getattr(models, kind)([numbers("a")], np.float64(2), **KINDS[kind])
    model = getattr(models, kind)([numbers("a"), numbers("b")], size, **KINDS[kind])
    assert type(model.latent_dim) is int
    exercise(model, {"a": torch.randn(4, 3), "b": torch.randn(4, 3)})


def test_latents_are_not_a_tensor() -> None:
    model, data = make("MVAE", 2)
    with pytest.raises(
        TypeError, match=r"latents: expected what infer returns, got Tensor; decode\(z\) takes a tensor"
    ):
        model.generate(model.infer(data).mean)


def test_unknown_choices_are_refused() -> None:
    for arguments, message in (({"objective": "vae"}, "objective"), ({"family": "cauchy"}, "family")):
        with pytest.raises(ValueError, match=message):
            models.MMVAE([numbers("a")], 2, **arguments)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE"])
def test_chunks_do_not_change_the_likelihood(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draws are the same, however many are decoded at a time: of all rows, or of some."""
    from mmvae.vaes import base

    model, data = make(kind, 3)
    monkeypatch.setattr(base, "_ROWS", 3)  # of the four that there are
    monkeypatch.setattr(base, "_DRAWN", 3 * 7 * 2 * 3)
    batch = Batch(data, {next(iter(data)): torch.arange(len(next(iter(data.values())))) != 1})
    weights, likelihoods = [], []
    for chunk_size in (None, 1000, 8, 3, 1):
        for found, method in ((weights, model.log_weights), (likelihoods, model.log_likelihood)):
            torch.manual_seed(1)
            found.append(method(batch, num_samples=50, chunk_size=chunk_size))
    torch.testing.assert_close(likelihoods[0], weights[0].logsumexp(0) - math.log(50))
    for found in (weights, likelihoods):
        for other in found[1:]:
            torch.testing.assert_close(other, found[0])
    with pytest.raises(ValueError, match="chunk_size: expected at least 1"):
        model.log_likelihood(data, chunk_size=0)


@pytest.mark.parametrize("kind", ["MVAE", "MoPoE"])
def test_memory_of_the_likelihood_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of samples; and in rows, but for a number of each of them."""
    from mmvae.vaes import base

    monkeypatch.setattr(base, "_ROWS", 32)
    monkeypatch.setattr(base, "_DRAWN", 2**10)
    model = getattr(models, kind)([numbers("a", 500), numbers("b", 500)], 2)

    def cost(rows: int, num_samples: int, chunk_size: int) -> LiveMemory:
        batch = model.prepare({name: torch.randn(rows, 500) for name in "ab"})
        with LiveMemory() as memory:
            model.log_likelihood(batch, num_samples=num_samples, chunk_size=chunk_size)
        return memory

    some = cost(64, 20, 16)
    assert some.largest <= 32 * 500 * 4  # the data of the rows that are encoded
    assert cost(64, 40, 16).peak <= 1.05 * some.peak
    assert cost(256, 20, 16).peak <= 1.05 * some.peak + 256 * 4 * 2
    assert cost(64, 40, 10_000).peak > 5 * some.peak


def test_chunks_follow_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a least and a most, and by a size of chunk that is never nothing."""
    from mmvae import free_memory as memory

    here = torch.device("cpu")
    sizes = []
    for free in (None, 2**50, 2**30, 2**26, 0):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        sizes.append(memory.latents_at_a_time(64, here))
    assert sizes == [2**17, 2**17, 2**17, 2**13, 2**10]
    assert memory.latents_at_a_time(2**30, here) == 1


def test_many_draws_are_decoded_like_few() -> None:
    """Leading dimensions are flattened for the decoder and restored, whatever their number."""
    model, _ = make("MVAE", 2)
    z = torch.randn(30, 3, 40, 2)
    distributions = model.decode(z)
    for name, distribution in distributions.items():
        assert distribution.batch_shape == (30, 3, 40)
        assert distribution.event_shape == (3,)
        torch.testing.assert_close(distribution.mean[7, 1, 5:6], model.decode(z[7, 1, 5:6], name)[name].mean)


def test_elbo_averages_over_samples() -> None:
    yardstick = LinearGaussian.orthogonal({"a": 3, "b": 2}, 2)
    model, data = exact_model(yardstick, "MVAE"), yardstick.sample(4)
    with torch.no_grad():
        elbo = model.elbo(data, num_samples=20_000).double()
    torch.testing.assert_close(elbo, yardstick.log_likelihood(data), atol=0.05, rtol=0)


def test_one_importance_sample_is_no_bound_tightened() -> None:
    model, data = make("MVAE", 2)
    torch.manual_seed(2)
    weights = model.log_weights(data, num_samples=4)
    torch.manual_seed(2)
    torch.testing.assert_close(model.log_likelihood(data, num_samples=4), weights.logsumexp(0) - math.log(4))


def test_recipes_of_ones_own() -> None:
    """A joint posterior and an objective make a model."""
    model = MultimodalVAE(
        [numbers("a"), numbers("b")], 2, joint_posterior=Product(prior_expert=False), objective=SubsetELBO(beta=0.5)
    )
    exercise(model, {"a": torch.randn(4, 3), "b": torch.randn(4, 3)})


def test_drawn_modalities_count_as_missing_elsewhere() -> None:
    model, data = make("MVAE", 2)
    batch = Batch({**data, "m1": None})
    assert model.infer(batch).subset == ("m0",)
    assert model.loss(batch).terms.keys() == {"m0", "kl", "elbo"}


def test_generated_data_carries_no_gradient() -> None:
    model, data = make("MVAE", 2)
    for tensors in (model.generate(model.infer(data)), model.sample(3)):
        assert not any(each.requires_grad for each in tensors.values())


@pytest.mark.parametrize("bound", ["elbo", "log_likelihood"])
def test_no_draws_are_refused(bound: str) -> None:
    model, data = make("MVAE", 2)
    with pytest.raises(ValueError, match="num_samples"):
        getattr(model, bound)(data, num_samples=0)


class Positive(likelihoods.Likelihood):
    """Log-normal noise, under which zero has no density."""

    hole = 1.0

    def forward(self, parameters: torch.Tensor) -> dist.TorchDistribution:
        return dist.LogNormal(parameters, 0.5)

    def check_support(self, name: str, data: torch.Tensor) -> None:
        if not bool((data > 0).all()):
            raise ValueError(f"{name}: must be positive")


@pytest.mark.parametrize("likelihood", [Positive(), lambda parameters: dist.LogNormal(parameters, 0.5)])
@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "MVTCAE"])
def test_missing_data_that_zero_cannot_stand_for(kind: str, likelihood: Any) -> None:
    """What stands under a mask has a density: neither values nor gradients are lost to NaN."""
    model = getattr(models, kind)([numbers("a"), numbers("b", likelihood=likelihood)], 2, **KINDS[kind])
    data, observed = {"a": torch.randn(4, 3), "b": torch.rand(4, 3) + 0.1}, torch.tensor([True, False, True, True])
    for given in (Batch(data, {"b": observed}), Batch(data, {"b": torch.zeros(4, dtype=torch.bool)})):
        model.zero_grad()
        model.loss(given).total.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
        assert model.elbo(given).isfinite().all()
    joined = Batch.cat([model.prepare(data), model.prepare({"a": data["a"]})])
    assert model.elbo(joined).isfinite().all()
