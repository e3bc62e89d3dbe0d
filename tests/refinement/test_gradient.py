"""Ascent on each datum's own posterior: to the known optimum, never down, and by the members of the subset alone."""

from __future__ import annotations

import functools
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from objectives.parts import Parts
from refinement.parts import WEIGHTS, YARDSTICK, exact_bound
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.nn import MLPDecoder, MLPEncoder
from mmvae.refinement import Bound, Gaussian, Gradient
from mmvae.refinement.balanced_noise import balanced_noise
from mmvae.subsets import powerset

DATA = YARDSTICK.sample(6)


def on_the_yardstick(kind: str = "MVAE", **options: Any) -> Any:
    return getattr(models, kind)(YARDSTICK.modalities(), 3, **options)


def far_away(size: int = 6, loc: float = 4.0, scale: float = 0.05) -> Any:
    return dist.Normal(torch.full((size, 3), loc), scale).to_event(1)


# On the yardstick.


@pytest.mark.parametrize("subset", powerset(YARDSTICK.names), ids=" ".join)
def test_the_mean_field_optimum_is_reached(subset: tuple[str, ...]) -> None:
    """To a thousandth of a nat, from a start that is bad and sure of itself."""
    model = on_the_yardstick()
    latents = Gradient(50)(model, model.prepare(DATA).restrict(subset), far_away())
    best = YARDSTICK.mean_field_elbo(DATA, subset)
    assert latents.elbo_trace is not None
    assert latents.elbo_trace.shape == (51, 6)
    assert (best - latents.elbo_trace[0] > 10).all()
    torch.testing.assert_close(latents.elbo_trace[-1].double(), best, rtol=0, atol=1e-3)
    optimum = YARDSTICK.mean_field(DATA, subset)
    torch.testing.assert_close(latents.mean.double(), optimum.mean, rtol=0, atol=0.01)
    torch.testing.assert_close(latents.scale.square().double(), optimum.variance, rtol=0.03, atol=0)


def test_a_vague_start_serves_as_well() -> None:
    model = on_the_yardstick()
    latents = Gradient(50)(model, model.prepare(DATA), far_away(loc=-2.0, scale=6.0))
    assert latents.elbo_trace is not None
    torch.testing.assert_close(latents.elbo_trace[-1].double(), YARDSTICK.mean_field_elbo(DATA), rtol=0, atol=1e-3)


@pytest.mark.parametrize("steps", [0, 1, 20])
def test_the_trace_is_the_exact_bound(steps: int) -> None:
    """Before the first step, and after the last; in honest nats, whatever the model was trained with."""
    model = on_the_yardstick(weights=WEIGHTS, beta=3.0)
    start, latents = model.infer(DATA), mmvae.infer(model, DATA, refine="gradient", steps=steps)
    assert latents.elbo_trace is not None
    assert latents.elbo_trace.shape == (steps + 1, 6)
    for found, value in ((start, latents.elbo_trace[0]), (latents, latents.elbo_trace[-1])):
        base = found.distribution.base_dist  # type: ignore[attr-defined]
        exact = exact_bound(YARDSTICK, DATA, base.loc.double(), 2 * base.scale.double().log())
        torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=1e-3)
    if steps == 0:
        assert torch.equal(latents.mean, start.mean)
        assert torch.equal(latents.scale, start.scale)


@pytest.mark.parametrize("beta", [0.4, 2.5])
def test_other_weights_climb_another_bound(beta: float) -> None:
    """Whose optimum is known too: precisions are weighted, and the prior's counts β times."""
    model = on_the_yardstick()
    latents = Gradient(60, weights=WEIGHTS, beta=beta)(model, model.prepare(DATA))
    weighted = {name: WEIGHTS[name] * each / beta for name, each in YARDSTICK.precisions.items()}
    precision = torch.eye(3, dtype=torch.float64) + sum(weighted.values())
    pull = sum(
        WEIGHTS[name] / beta * (DATA[name].double() - YARDSTICK.offsets[name]) @ YARDSTICK.loadings[name]
        / YARDSTICK.scales[name] ** 2
        for name in YARDSTICK.names
    )  # fmt: skip
    loc = torch.linalg.solve(precision, pull.T).T  # type: ignore[union-attr]
    variance = 1 / precision.diagonal()
    best = exact_bound(YARDSTICK, DATA, loc, variance.log().expand(6, 3), WEIGHTS, beta)
    assert latents.elbo_trace is not None
    torch.testing.assert_close(latents.elbo_trace[-1].double(), best, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(latents.mean.double(), loc, rtol=0, atol=0.01)
    assert (best - YARDSTICK.mean_field_elbo(DATA)).abs().min() > 0.1


# On models without a closed form.


@functools.cache
def parts() -> Parts:
    return Parts()


def hard(kind: str = "MVAE", **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """A model whose decoders are steep, and real data far from anything that it expects."""
    model = getattr(models, kind)(parts().make_modalities(), 2, **options)
    with torch.no_grad():
        for parameter in model.decoders.parameters():
            parameter.mul_(6.0)
    data = parts().make_data(12)
    return model, {**data, "real": 30 * data["real"]}


@pytest.mark.parametrize("options", [{}, {"num_samples": 1}, {"num_samples": 3, "lr": 5.0}])
def test_no_datum_ends_below_where_it_started(options: dict[str, Any]) -> None:
    """Nor does its bound ever fall, also where steps are far too long."""
    model, data = hard()
    batch = model.prepare(data)
    latents = Gradient(30, **options)(model, batch)
    trace = latents.elbo_trace
    assert trace is not None
    assert trace.isfinite().all()
    assert (trace.diff(dim=0) >= 0).all()
    assert (trace[-1] > trace[0]).all()
    count = options.get("num_samples", 32)
    noise = balanced_noise(count, 2, torch.Generator().manual_seed(0), latents.mean)
    with torch.no_grad():
        last = Bound(model, batch).at(Gaussian.of(latents.distribution), noise)
    torch.testing.assert_close(last, trace[-1], rtol=1e-4, atol=1e-3)


def test_what_it_gains_is_there_under_other_noise() -> None:
    """The scales do not fit the noise: fresh draws say the same of the bound."""
    model, data = hard()
    latents = mmvae.infer(model, data, refine=Gradient(60, num_samples=256))
    assert latents.elbo_trace is not None
    with torch.no_grad():
        q = Gaussian.of(latents.distribution)
        values = torch.stack(
            [Bound(model, model.prepare(data)).at(q, torch.randn(64, 12, 2)) for _ in range(64)]
        )  # [64, N], each of 64 draws
    error = values.mean(0) - latents.elbo_trace[-1]
    spread = values.std(0) / 8
    assert (error.abs() < 5 * spread + 0.02 * latents.elbo_trace[-1].abs()).all()
    assert (values.mean(0) > latents.elbo_trace[0] + 1).all()


def test_rows_are_independent() -> None:
    """A datum has the same path alone, beside others, and beside others that go wrong."""
    model, data = hard()
    whole = mmvae.infer(model, data, refine="gradient", steps=12)
    for batch_size in (1, 5):
        split = mmvae.infer(model, data, refine="gradient", steps=12, batch_size=batch_size)
        torch.testing.assert_close(split.elbo_trace, whole.elbo_trace, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(split.mean, whole.mean, rtol=1e-2, atol=1e-2)
    worse = {**data, "real": torch.cat([data["real"][:6], 1000 * data["real"][6:]])}
    beside = mmvae.infer(model, worse, refine="gradient", steps=12)
    assert torch.equal(beside.mean[:6], whole.mean[:6])
    assert torch.equal(beside.scale[:6], whole.scale[:6])


@pytest.mark.parametrize("subset", powerset(("real", "bits", "codes"))[:-1], ids=" ".join)
def test_a_subset_is_refined_by_its_members_alone(subset: tuple[str, ...]) -> None:
    """Bit by bit the same, whatever the other modalities are, and whether they are there."""
    model, data = hard()
    other = parts().make_data(24)
    changed = {name: value if name in subset else other[name][12:] for name, value in data.items()}
    alone = {name: data[name] for name in subset}
    found = [mmvae.infer(model, each, subset, refine="gradient", steps=5) for each in (data, changed, alone)]
    assert found[0].subset == subset
    for each in found[1:]:
        assert torch.equal(each.mean, found[0].mean)
        assert torch.equal(each.scale, found[0].scale)
        assert each.elbo_trace is not None
        assert torch.equal(each.elbo_trace, found[0].elbo_trace)
    assert (found[0].elbo_trace[-1] > found[0].elbo_trace[0]).all()  # type: ignore[index]


def test_a_row_is_refined_by_what_it_has() -> None:
    model, data, observed = *hard(), parts().make_observed()
    data = {name: value[:6] for name, value in data.items()}
    latents = mmvae.infer(model, Batch(data, observed), refine="gradient", steps=5)
    assert latents.elbo_trace is not None
    for row in range(6):
        names = [name for name in model.names if observed[name][row]]
        alone = mmvae.infer(model, {name: data[name][row : row + 1] for name in names}, refine="gradient", steps=5)
        assert alone.elbo_trace is not None
        torch.testing.assert_close(alone.elbo_trace[:, 0], latents.elbo_trace[:, row], rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(alone.mean[0], latents.mean[row], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("MMVAE", {}), ("MMVAE", {"family": "normal"}), ("MoPoE", {})],
    ids=["Laplace", "Normal", "MoPoE"],
)
@pytest.mark.parametrize("subset", [None, "bits", ("real", "codes")])
def test_mixtures_start_from_the_gaussian_of_their_moments(kind: str, options: dict[str, Any], subset: Any) -> None:
    model, data = hard(kind, **options)
    batch, mixture = model.prepare(data).restrict(subset), model.infer(data, subset)
    start = Independent(Normal(mixture.mean, mixture.scale), 1)
    latents = mmvae.infer(model, data, subset, refine="gradient", steps=15)
    given = Gradient(15)(model, batch, start)
    assert latents.elbo_trace is not None
    assert given.elbo_trace is not None
    torch.testing.assert_close(latents.elbo_trace, given.elbo_trace)
    assert isinstance(latents.distribution, Independent)
    assert isinstance(latents.distribution.base_dist, Normal)
    assert (latents.elbo_trace[-1] > latents.elbo_trace[0]).all()


# At the edges.

EDGES = {"Bernoulli": likelihoods.Bernoulli, "Laplace": likelihoods.Laplace}
EDGES["ContinuousBernoulli"] = likelihoods.ContinuousBernoulli  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("kind", "steepness"), [("MVAE", 1.0), ("MVAE", 100.0), ("MMVAE", 100.0), ("IterativeVAE", 100.0)]
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 4)], ids=["one pixel", "pixels"])
@pytest.mark.parametrize("likelihood", list(EDGES))
def test_data_at_the_edges(likelihood: str, shape: tuple[int, ...], steepness: float, kind: str) -> None:
    """Black and white images, also under decoders that are sure of the opposite: nothing is ever NaN."""
    networks: Any = {
        "encoder": functools.partial(MLPEncoder, shape, hidden=(5,)),
        "decoder": functools.partial(MLPDecoder, shape=shape, hidden=(5,)),
    }
    modalities = [Modality(name, shape, EDGES[likelihood](), **networks) for name in "ab"]
    model = getattr(models, kind)(modalities, 2)
    with torch.no_grad():
        for parameter in model.decoders.parameters():
            parameter.mul_(steepness)
    pixels = torch.cat([torch.zeros(2, *shape), torch.ones(2, *shape)])
    data = {"a": pixels, "b": pixels.flip(0)}
    for subset in (None, "a"):
        refiners = ["gradient"] + ["amortized"] * (kind == "IterativeVAE")
        for refine in refiners:
            latents = mmvae.infer(model, data, subset, refine=refine, steps=10)  # type: ignore[arg-type]
            assert latents.elbo_trace is not None
            assert latents.elbo_trace.isfinite().all()
            assert latents.mean.isfinite().all()
            assert latents.scale.isfinite().all()
            assert (latents.scale > 0).all()
            assert refine == "amortized" or (latents.elbo_trace[-1] >= latents.elbo_trace[0]).all()


class Cliff(nn.Module):
    """NaN for every latent but those near zero."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.where(z.abs() < 1, z, float("nan")).sum(-1, keepdim=True).expand(-1, 3)


def test_steps_into_the_void_are_undone() -> None:
    unchecked = functools.partial(dist.Normal, scale=1.0, validate_args=False)
    model = models.MVAE([Modality("a", (3,), unchecked, nn.Flatten(), lambda latent_dim: Cliff())], 2)
    start = dist.Normal(torch.zeros(4, 2), 0.01).to_event(1)
    with pyro.validation_enabled(False):  # it warns of NaN
        latents = Gradient(20)(model, model.prepare({"a": torch.full((4, 3), 9.0)}), start)
    assert latents.elbo_trace is not None
    assert latents.elbo_trace.isfinite().all()
    assert (latents.elbo_trace[-1] > latents.elbo_trace[0]).all()
    assert (latents.mean.abs() < 1).all()


# Chance, and manners.


def test_chance_is_in_the_seed_alone() -> None:
    model, data = hard()
    batch = model.prepare(data)
    before = torch.get_rng_state()
    first, again, other = (Gradient(5, num_samples=4, seed=seed)(model, batch).elbo_trace for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_of_the_model_is_changed() -> None:
    model, data = hard()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    latents = Gradient(5)(model, model.prepare(data))
    assert not latents.mean.requires_grad
    assert not latents.elbo_trace.requires_grad  # type: ignore[union-attr]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_point_mass_cannot_be_refined() -> None:
    model, data = hard()
    with pytest.raises(ValueError, match="point mass"):
        Gradient(5)(model, model.prepare(data), dist.Delta(torch.zeros(12, 2), event_dim=1))
