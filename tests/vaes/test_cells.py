"""Rows of which single numbers are missing: exact bounds and posteriors for what is there, and training on them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch, Modality, likelihoods, models, priors
from mmvae.models import MultimodalVAE
from mmvae.nn import MLPDecoder, MLPEncoder, WithMask
from mmvae.testing import LinearGaussian, ModelContract
from mmvae.transforms import Standardize

SIZES = {"a": 4, "b": 3}


def masks(rows: int, sizes: dict[str, int], share: float = 0.5, seed: int = 0) -> dict[str, Tensor]:
    """Where numbers are present; of every row something is."""
    generator = torch.Generator().manual_seed(seed)
    present = {name: torch.rand(rows, size, generator=generator) < share for name, size in sizes.items()}
    first = next(iter(present))
    present[first][:, 0] |= ~torch.cat([*present.values()], 1).any(1)
    return present


def with_holes(data: dict[str, Tensor], present: dict[str, Tensor], value: float = torch.nan) -> dict[str, Tensor]:
    return {name: torch.where(present[name], each, value) for name, each in data.items()}


# The contract of models.


class _Contract(ModelContract):
    """One modality with cells, of which some are masked, among others without."""

    kind = "MVAE"

    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return getattr(models, self.kind)(modalities, 2)

    def make_modalities(self) -> list[Modality]:
        real, bits, codes = super().make_modalities()
        transform = Standardize().for_shape((3,))
        transform.loc.copy_(torch.tensor([0.5, -2.0, 1.0]))
        transform.scale.copy_(torch.tensor([2.0, 0.3, 1.5]))
        transform.fitted.fill_(True)
        encoder = WithMask(nn.Sequential(nn.Linear(6, 5), nn.Tanh()))
        cells: Any = {"weight": 2.0, "transform": transform, "missing": "cells"}
        return [Modality("real", (3,), likelihoods.Normal(0.7), encoder, real.decoder, **cells), bits, codes]

    def make_observed(self) -> dict[str, Tensor]:
        observed = super().make_observed()
        cells = torch.rand(6, 3, generator=torch.Generator().manual_seed(4)) < 0.6
        cells[:, 0] = True
        return {**observed, "real": observed["real"][:, None] & cells}

    def test_bad_input_is_refused(self) -> None:
        """But for rows that are NaN in part."""
        model, data = self.make(), self.make_data()
        part = data["real"].clone()
        part[2, 1] = float("nan")
        assert model.infer({**data, "real": part}).mean.isfinite().all()
        bits = torch.ones(6, 2, 2, dtype=torch.bool)
        bits[1, 0] = False
        with pytest.raises(
            ValueError, match=r'bits: row 1 is NaN in part, or masked .*"bits"|\'bits\'.*missing="cells"'
        ):
            model.infer(data, observed={"bits": bits})
        infinite = data["real"].clone()
        infinite[3, 0] = float("inf")
        with pytest.raises(ValueError, match="real: row 3 holds infinite"):
            model.infer({**data, "real": infinite})


class TestMVAE(_Contract):
    pass


class TestMMVAE(_Contract):
    kind = "MMVAE"


class TestMoPoE(_Contract):
    kind = "MoPoE"


class TestMVTCAE(_Contract):
    kind = "MVTCAE"


class TestJMVAE(_Contract):
    kind = "JMVAE"
    trains_on_incomplete_data = False


# Exact answers, of a yardstick of one latent column, of which the exact posterior is Gaussian whatever is missing.


class Exact(nn.Module):
    """What the present numbers of a modality say of the one latent: location and log-variance."""

    def __init__(self, yardstick: LinearGaussian, name: str) -> None:
        super().__init__()
        self.register_buffer("loading", yardstick.loadings[name][:, 0].float())
        self.register_buffer("offset", yardstick.offsets[name].float())
        self.scale = yardstick.scales[name]

    def forward(self, data: Tensor, observed: Tensor) -> Tensor:
        weights = observed.to(data.dtype) / self.scale**2
        precision = (weights * self.loading.square()).sum(1).clamp(min=1e-6)
        pull = (weights * self.loading * (data - self.offset)).sum(1)
        return torch.stack([pull / precision, -precision.log()], 1)


def exact(transforms: dict[str, Standardize] | None = None) -> tuple[LinearGaussian, Any]:
    yardstick = LinearGaussian.random(SIZES, 1, seed=2)
    modalities = [
        Modality(
            each.name,
            each.shape,
            each.likelihood,
            Exact(yardstick, each.name),
            each.decoder,
            transform=(transforms or {}).get(each.name),
            missing="cells",
        )
        for each in yardstick.modalities()
    ]
    model = models.MVAE(modalities, 1)
    for head in model.experts.heads.values():
        head.linear.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    return yardstick, model


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("said_by", ["nan", "mask"])
def test_likelihoods_and_posteriors_are_those_of_what_is_there(share: float, said_by: str) -> None:
    """The closed form of the linear-Gaussian model with holes; the bound is tight."""
    yardstick, model = exact()
    data, present = yardstick.sample(40), masks(40, SIZES, share)
    given = with_holes(data, present) if said_by == "nan" else with_holes(data, present, 1e6)
    observed = None if said_by == "nan" else present
    expected = yardstick.log_likelihood_of_cells(data, present)
    weights = model.log_weights(given, observed=observed, num_samples=20)  # each is exact, whatever the draw
    torch.testing.assert_close(weights.double(), expected.expand(20, -1), atol=2e-3, rtol=1e-3)
    bound = model.elbo(given, observed=observed, num_samples=5000)
    torch.testing.assert_close(bound.double(), expected, atol=0.1, rtol=0)
    posterior, latents = yardstick.posterior_of_cells(data, present), model.infer(given, observed=observed)
    torch.testing.assert_close(latents.mean.double(), posterior.mean, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        latents.scale.double().square()[:, :, None], posterior.covariance_matrix, atol=1e-3, rtol=1e-3
    )
    made = model.generate(latents)
    for name, predicted in yardstick.predictive_of_cells(data, present).items():
        torch.testing.assert_close(made[name].double(), predicted.mean, atol=1e-2, rtol=1e-3)


def test_all_cells_are_the_whole_and_whole_rows_are_missing_rows() -> None:
    yardstick, model = exact()
    data = yardstick.sample(6)
    everything = {name: torch.ones_like(value, dtype=torch.bool) for name, value in data.items()}
    assert torch.equal(model.infer(data, observed=everything).mean, model.infer(data).mean)
    torch.testing.assert_close(yardstick.log_likelihood_of_cells(data, everything), yardstick.log_likelihood(data))
    rows = torch.tensor([True, False, True, True, False, True])
    by_cells = {"a": rows[:, None].expand(6, 4)}
    torch.testing.assert_close(model.elbo(data, observed=by_cells, num_samples=9).shape, (torch.Size([6])))
    assert torch.equal(model.infer(data, observed=by_cells).mean, model.infer(data, observed={"a": rows}).mean)


def test_jacobians_count_the_cells_that_are_there() -> None:
    """In other units the likelihood of a row changes by the Jacobian of the numbers that it has."""
    units = {}
    for name, size in SIZES.items():
        units[name] = Standardize().for_shape((size,))
        units[name].loc.fill_(100.0)
        units[name].scale.copy_(10 ** torch.linspace(-2, 2, size))
        units[name].fitted.fill_(True)
    yardstick, model = exact(units)
    data, present = yardstick.sample(20), masks(20, SIZES)
    moved = {name: units[name].inverse(value.double()) for name, value in data.items()}
    jacobian = sum(units[name].log_jacobian(moved[name], present[name]) for name in SIZES)
    expected = yardstick.log_likelihood_of_cells(data, present) + jacobian
    found = model.log_likelihood(with_holes(moved, present), num_samples=50)
    torch.testing.assert_close(found.double(), expected, atol=3e-2, rtol=1e-3)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "MVTCAE", "JMVAE"])
def test_likelihoods_of_models_whose_networks_know_nothing(kind: str) -> None:
    """Importance sampling from default networks, untrained, with the true decoders, of correlated latents."""
    yardstick = LinearGaussian.random(SIZES, 2, seed=5)
    data, present = yardstick.sample(8), masks(8, SIZES, 0.4)
    modalities = [
        Modality(each.name, each.shape, each.likelihood, decoder=each.decoder, transform=None, missing="cells")
        for each in yardstick.modalities()
    ]
    torch.manual_seed(0)
    options = {"prior": priors.StandardNormal(), "family": "normal"} if kind == "MMVAE" else {}
    model = getattr(models, kind)(modalities, 2, **options)
    expected = yardstick.log_likelihood_of_cells(data, present)
    weights = model.log_weights(with_holes(data, present), num_samples=20_000).double()
    shares = weights.softmax(0)
    error = (shares.square().sum(0) - 1 / len(weights)).sqrt()  # relative, of the mean weight
    is_close = (weights.logsumexp(0) - math.log(len(weights)) - expected).abs() < 8 * error + 0.03
    assert is_close[error < 0.1].all()
    assert (error < 0.1).sum() >= 5
    assert (model.elbo(with_holes(data, present), num_samples=2000) < expected + 0.1).all()


def test_the_program_scores_what_is_there() -> None:
    yardstick, model = exact()
    data, present = yardstick.sample(7), masks(7, SIZES)
    batch, z = model.prepare(with_holes(data, present)), torch.randn(7, 1)
    trace = pyro.poutine.trace(pyro.poutine.condition(model.model, data={"z": z})).get_trace(batch)
    trace.compute_log_prob()
    for name, score in model.score(batch, z).items():
        loc = model.decoders[name](z)
        each = dist.Normal(loc, yardstick.scales[name]).log_prob(batch.data[name])
        torch.testing.assert_close(score, (each * present[name]).sum(1))
        torch.testing.assert_close(trace.nodes[name]["log_prob"], score)


# What encoders are called with.


class Spy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, data: Tensor, observed: Tensor) -> Tensor:
        self.seen.append((data, observed))
        return data.flatten(1).float()


@pytest.mark.parametrize("shape", [(3,), (4, 2), (1, 8, 8)])
def test_encoders_get_the_filled_data_and_the_mask(shape: tuple[int, ...]) -> None:
    spy = Spy()
    model = models.MVAE([Modality("x", shape, likelihoods.Normal(), spy, missing="cells", transform=Standardize())], 2)
    data, present = 5 + torch.randn(6, *shape), torch.rand(6, *shape) < 0.5
    present[:, 0] = True
    model.fit_transforms(Batch({"x": data}))
    spied: Any = model.experts.encoders["x"]
    model.infer({"x": torch.where(present, data, torch.nan)})
    values, mask = spied.seen[-1]
    assert torch.equal(mask, present)
    expected = torch.where(present, model.transforms["x"](data), 0.0)
    torch.testing.assert_close(values, expected)
    model.infer({"x": data})
    assert spied.seen[-1][1].all()


CELLS: dict[str, tuple[tuple[int, ...], Any, Tensor]] = {
    "vector": ((6,), likelihoods.Normal(), torch.randn(20, 6)),
    "one number": ((), likelihoods.Laplace(), torch.randn(20)),
    "sequence": ((5, 3), likelihoods.Normal("learned"), torch.randn(20, 5, 3)),
    "image": ((2, 8, 8), likelihoods.Normal(), torch.randn(20, 2, 8, 8)),
    "counts": ((6,), likelihoods.NegativeBinomial(), torch.poisson(torch.full((20, 6), 5.0))),
    "bits": ((6,), likelihoods.Bernoulli(), (torch.rand(20, 6) < 0.5).float()),
    "codes": ((6,), likelihoods.Categorical(4), torch.randint(4, (20, 6))),
    "grid of codes": ((2, 3), likelihoods.Categorical(4), torch.randint(4, (20, 2, 3))),
    "custom": ((6,), lambda p: dist.Gamma(2.0, p.exp()), torch.rand(20, 6) + 0.1),
}


@pytest.mark.parametrize(("shape", "likelihood", "data"), CELLS.values(), ids=CELLS)
def test_every_likelihood_and_default_network_takes_cells(
    shape: tuple[int, ...], likelihood: Any, data: Tensor
) -> None:
    """What stands under the mask reaches no number, and masks do."""
    torch.manual_seed(0)
    model = models.MVAE(
        [Modality("x", shape, likelihood, missing="cells"), Modality("y", (2,), likelihoods.Normal())], 2
    )
    present, y = torch.rand(data.shape) < 0.6, torch.randn(20, 2)
    other = torch.where(present, data, data.flipud())
    for value in (data, other):
        batch = Batch({"x": value, "y": y}, {"x": present})
        torch.manual_seed(1)
        loss = model.loss(batch)
        model.zero_grad()
        loss.total.backward()
        numbers = [loss.total, model.infer(batch).mean, *(p.grad for p in model.parameters() if p.grad is not None)]
        assert all(bool(each.isfinite().all()) for each in numbers)
        if value is data:
            expected = numbers
    assert all(torch.equal(one, two) for one, two in zip(expected, numbers, strict=True))
    assert not torch.equal(model.infer({"x": data, "y": y}).mean, expected[1])


def test_masks_of_steps_leave_steps_out() -> None:
    """A sequence of T' of T steps scores those, and its likelihood is the sum over them."""
    torch.manual_seed(0)
    model = models.MVAE([Modality("x", (5, 3), likelihoods.Normal(), missing="cells")], 2)
    data, lengths = torch.randn(8, 5, 3), torch.arange(8) % 5 + 1
    steps = torch.arange(5) < lengths[:, None]
    batch, z = model.prepare({"x": data}, {"x": steps}), torch.randn(8, 2)
    each = dist.Normal(model.decoders["x"](z), 1.0).log_prob(data).sum(2)
    torch.testing.assert_close(model.score(batch, z)["x"], (each * steps).sum(1))
    padded = torch.where(steps[:, :, None], data, torch.nan)
    assert torch.equal(model.infer({"x": padded}).mean, model.infer({"x": data}, observed={"x": steps}).mean)


# What is refused.


@pytest.mark.parametrize("missing", ["cells", "rows"])
def test_holes_need_to_be_declared(missing: Any) -> None:
    model = models.MVAE([Modality("x", (3,), likelihoods.Normal(), missing=missing)], 2)
    data = torch.randn(4, 3)
    data[2, 1] = torch.nan
    for call in (model.loss, model.infer, model.elbo, lambda x: mmvae.fit(model, x, epochs=1, progress=False)):
        if missing == "cells":
            call({"x": data})
            continue
        with pytest.raises(
            ValueError, match=r"x: row 2 is NaN in part, .*\(1 such rows\), and MVAE takes .*missing=\"cells\""
        ):
            call({"x": data})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"missing": "some"}, ValueError, 'x: missing must be "rows" or "cells"'),
        ({"encoder": nn.Linear(3, 4)}, ValueError, r"x: encoder cannot take data of shape \(2, 3\) and a mask of that"),
        (
            {"likelihood": lambda p: dist.Normal(p, 1.0).to_event(1)},
            ValueError,
            "x: .*no single number can be left out",
        ),
    ],
)
def test_modalities_that_cannot_have_cells(changes: dict[str, Any], error: type, message: str) -> None:
    given: dict[str, Any] = {
        "name": "x",
        "shape": (3,),
        "likelihood": likelihoods.Normal(),
        "missing": "cells",
        **changes,
    }
    with pytest.raises(error, match=message):
        models.MVAE([Modality(**given)], 2)


# Training.


def made(rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(rows, 2, generator=generator)
    return {
        name: z @ torch.randn(2, 8, generator=generator) + 0.3 * torch.randn(rows, 8, generator=generator)
        for name in "ab"
    }


def small(missing: Any = "cells", **options: Any) -> Any:
    torch.manual_seed(0)
    each = {"decoder": functools.partial(MLPDecoder, shape=(8,), hidden=(32,)), "missing": missing}
    encoder = WithMask(MLPEncoder((16,), hidden=(32,))) if missing == "cells" else MLPEncoder((8,), hidden=(32,))
    return models.MVTCAE(
        [Modality(n, (8,), likelihoods.Normal("learned"), encoder, **each) for n in "ab"], 2, **options
    )


@pytest.mark.parametrize("missing", [0.1, 0.5, 0.9])
def test_training_at_any_share_of_missing_cells_beats_the_means(missing: float) -> None:
    """Held-out cells are predicted better than by the mean of their column, from 10 to 90 % missing."""
    data = made(900)
    present = masks(900, {"a": 8, "b": 8}, 1 - missing)
    model = small()
    given = with_holes(data, present)
    mmvae.fit(model, given, epochs=25, batch_size=50, lr=5e-3, progress=False, device="cpu")
    means = {name: value.nanmean(0) for name, value in given.items()}
    torch.testing.assert_close(model.transforms["a"].loc, means["a"], rtol=1e-4, atol=1e-4)
    made_up = model.generate(model.infer(given))
    for name, value in data.items():
        hidden = ~present[name]
        error = (made_up[name] - value)[hidden].square().mean()
        floor = (means[name] - value)[hidden].square().mean()
        assert error < {0.1: 0.6, 0.5: 0.65, 0.9: 0.95}[missing] * floor


def test_runs_with_holes_are_saved_resumed_and_rebuilt(tmp_path: Path) -> None:
    given = with_holes(made(60), masks(60, {"a": 8, "b": 8}))
    whole, stopped = small(), small()
    quiet = functools.partial(mmvae.fit, data=given, batch_size=16, progress=False, device="cpu", validation=0.2)
    quiet(whole, epochs=3)
    quiet(stopped, epochs=1, out=tmp_path)
    quiet(small(), epochs=3, out=tmp_path, resume=True)
    loaded = mmvae.load(tmp_path)
    assert loaded.modalities[0].missing == "cells"
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in whole.state_dict().items())
    assert torch.equal(mmvae.infer(loaded, given).mean, mmvae.infer(whole, given).mean)


def test_datasets_with_holes_train() -> None:
    given = with_holes(made(60), masks(60, {"a": 8, "b": 8}))
    plain, other = small(), small()
    quiet = functools.partial(mmvae.fit, epochs=1, batch_size=16, progress=False, device="cpu")
    quiet(plain, given)
    quiet(other, mmvae.data.MultimodalDataset(given))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_refinement_climbs_the_bound_of_what_is_there() -> None:
    yardstick = LinearGaussian.random(SIZES, 2, seed=5)
    data, present = yardstick.sample(8), masks(8, SIZES, 0.5)
    modalities = [
        Modality(each.name, each.shape, each.likelihood, decoder=each.decoder, transform=None, missing="cells")
        for each in yardstick.modalities()
    ]
    torch.manual_seed(0)
    model = models.MVAE(modalities, 2)
    found = mmvae.infer(model, with_holes(data, present), refine="gradient", steps=300, progress=False)
    exact_mean = yardstick.posterior_of_cells(data, present).mean
    torch.testing.assert_close(found.mean.double(), exact_mean, atol=3e-2, rtol=0)


def test_evaluation_takes_holes_and_refuses_those_that_were_not_declared() -> None:
    given = with_holes(made(60), masks(60, {"a": 8, "b": 8}))
    evaluation = mmvae.evaluate(small(), given, ["log_likelihood"], num_samples=8, progress=False)
    assert len(evaluation.rows) == 3
    with pytest.raises(ValueError, match=r"a: row .* is NaN in part"):
        mmvae.evaluate(small("rows"), given, ["log_likelihood"], progress=False)
