"""A row that lacks a modality is the same row, in whatever way it is said to lack it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.sources import as_source

KINDS = ["MVAE", "MMVAE", "MoPoE", "MVTCAE"]
"""Models that train on incomplete data."""

ROWS = 7
X, Y = torch.linspace(-1, 1, ROWS * 3).reshape(ROWS, 3), torch.linspace(2, 1, ROWS * 2).reshape(ROWS, 2)


class Items(torch.utils.data.Dataset):
    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> Any:
        return self.make(row)


def with_nan(value: Tensor, there: Tensor) -> Tensor:
    return torch.where(there[:, None], value, torch.nan)


WAYS: dict[str, Callable[[Tensor], Any]] = {
    "a mask over the values": lambda there: Batch({"x": X, "y": Y}, {"x": there}),
    "a mask over something else": lambda there: Batch(
        {"x": torch.where(there[:, None], X, 1e30), "y": Y}, {"x": there}
    ),
    "a mask over NaN": lambda there: Batch({"x": with_nan(X, there), "y": Y}, {"x": there}),
    "NaN": lambda there: Batch({"x": with_nan(X, there), "y": Y}),
    "NaN in numpy": lambda there: {"x": with_nan(X, there).numpy(), "y": Y.numpy()},
    "None in a list": lambda there: {
        "x": [x.tolist() if here else None for x, here in zip(X, there, strict=True)],
        "y": Y,
    },
    "a masked array": lambda there: {
        "x": np.ma.masked_array(X.numpy(), np.repeat(~there.numpy()[:, None], 3, 1)),
        "y": Y,
    },
    "None in items": lambda there: Items(lambda row: {"x": X[row] if there[row] else None, "y": Y[row]}),
    "left out of items": lambda there: Items(lambda row: {"x": X[row], "y": Y[row]} if there[row] else {"y": Y[row]}),
    "batches of different modalities": lambda there: Batch.cat(
        [Batch({"x": X[[row]], "y": Y[[row]]} if there[row] else {"y": Y[[row]]}) for row in range(ROWS)]
    ),
}

ALL_MISSING: dict[str, Any] = {
    "left out": {"y": Y},
    "None": {"x": None, "y": Y},
    "a mask alone": Batch({"y": Y}, {"x": torch.zeros(ROWS, dtype=torch.bool)}),
}

INFERENCE = ("mean", "scale", "elbo", "log-likelihood")

PRESENCE = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).map(torch.tensor)


def batch_of(data: Any) -> Batch:
    source = as_source(data)
    return source.batch(torch.arange(len(source)))


def with_batch_norm(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 5), nn.BatchNorm1d(5), nn.Tanh())


class LogOfData(nn.Module):
    """An encoder that has no finite answer at zero, where missing rows stand."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs().log()


def make(kind: str, x_likelihood: Any = None, encoders: str = "default") -> Any:
    torch.manual_seed(0)
    own: dict[str, dict[str, Any]] = {
        "default": {"x": {}, "y": {}},
        "batch norm": {"x": {"encoder": lambda: with_batch_norm(3)}, "y": {"encoder": lambda: with_batch_norm(2)}},
        "log": {"x": {"encoder": LogOfData}, "y": {}},
    }
    modalities = [
        Modality("x", (3,), x_likelihood or likelihoods.Normal(), **own[encoders]["x"]),
        Modality("y", (2,), likelihoods.Normal(), **own[encoders]["y"]),
    ]
    return getattr(models, kind)(modalities, latent_dim=2)


def answers(model: Any, batch: Batch) -> dict[str, Tensor]:
    """What the library says of a batch, with the same draws each time."""

    def seeded(call: Callable[[], Tensor]) -> Tensor:
        torch.manual_seed(1)
        return call().detach()

    model.train()
    found = {
        "mean": seeded(lambda: model.infer(batch).mean),
        "scale": seeded(lambda: model.infer(batch).scale),
        "elbo": seeded(lambda: model.elbo(batch)),
        "log-likelihood": seeded(lambda: model.log_likelihood(batch, num_samples=4)),
    }
    torch.manual_seed(1)
    model.zero_grad()
    loss = model.loss(batch)
    loss.total.backward()
    found["loss"] = loss.total.detach()
    found |= {f"term {name}": value.detach() for name, value in loss.terms.items() if name != "x"}
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        found[f"gradient {name}"] = gradient.clone()
    found |= {f"state {name}": value.clone() for name, value in model.state_dict().items() if "running" in name}
    return found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], what: str) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{what}: {name}: {text}")
        assert value.isfinite().all(), f"{what}: {name}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoders", ["default", "batch norm", "log"])
@settings(max_examples=3, deadline=None)
@given(there=PRESENCE)
def test_every_way_of_saying_missing_is_the_same(kind: str, encoders: str, there: Tensor) -> None:
    if encoders == "batch norm" and int(there.sum()) == 1:
        there[(there.int().argmax() + 1) % ROWS] = True
    ways = (
        WAYS if there.any() else {name: WAYS[name] for name in WAYS if name.startswith(("a mask", "NaN", "a masked"))}
    )
    expected = answers(make(kind, encoders=encoders), batch_of(ways["a mask over the values"](there)))
    for way, make_data in ways.items():
        assert_same(answers(make(kind, encoders=encoders), batch_of(make_data(there))), expected, way)
    if not there.any():
        for way, data in ALL_MISSING.items():
            found = answers(make(kind, encoders=encoders), batch_of(data))
            assert_same(found, {name: expected[name] for name in INFERENCE}, way)
            # Training draws for each subset of the modalities that the batch holds, so its draws are others.
            torch.testing.assert_close(found["loss"], expected["loss"], rtol=0.25, atol=0, msg=f"{way}: loss")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(there=PRESENCE)
def test_rows_weigh_the_same_alone_and_beside_others(kind: str, there: Tensor) -> None:
    model = make(kind).eval()
    together = model.infer(Batch({"x": X, "y": Y}, {"x": there}))
    for row in range(ROWS):
        alone = model.infer({"x": X[[row]], "y": Y[[row]]} if there[row] else {"y": Y[[row]]})
        torch.testing.assert_close(together.mean[[row]], alone.mean)
        torch.testing.assert_close(together.scale[[row]], alone.scale)


def test_batch_norm_sees_the_rows_that_are_there_alone() -> None:
    there = torch.tensor([True, True, False, True, False, False, True])
    model = make("MVAE", encoders="batch norm").train()
    model.loss(Batch({"x": X, "y": Y}, {"x": there}))
    norm = model.experts.encoders["x"][1]
    seen = model.experts.encoders["x"][0](X[there])
    torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean(0))


def test_batch_norm_of_a_single_row_that_is_there_uses_what_it_learned_before() -> None:
    model = make("MVAE", encoders="batch norm").train()
    norm = model.experts.encoders["x"][1]
    before = norm.running_mean.clone()
    loss = model.loss(Batch({"x": X, "y": Y}, {"x": torch.arange(ROWS) == 3}))
    assert loss.total.isfinite()
    assert torch.equal(norm.running_mean, before)
    assert norm.training


SHIFT = dist.transforms.AffineTransform(1.0, 1.0)
CUSTOM: dict[str, tuple[Any, Tensor]] = {
    "Bernoulli": (lambda p: dist.Bernoulli(logits=p), (X > 0).float()),
    "Poisson": (lambda p: dist.Poisson(p.exp()), (X.abs() * 5).round()),
    "Pareto from 1": (lambda p: dist.Pareto(1.0, 1 + p.exp()), 1.5 + X.abs()),
    "log-normal above 1": (lambda p: dist.TransformedDistribution(dist.LogNormal(p, 1.0), [SHIFT]), 1.2 + X.abs()),
    "Beta": (lambda p: dist.Beta(p.exp(), 2.0), 0.1 + 0.4 * X.abs()),
    "Uniform from 10": (lambda p: dist.Uniform(10 + 0 * p, 20 + 0 * p), 11 + X.abs()),
    "Student": (lambda p: dist.StudentT(3.0, p, 1.0), X),
    "Binomial": (lambda p: dist.Binomial(5, logits=p), (X.abs() * 5).round()),
}


@pytest.mark.filterwarnings("ignore:no training row has")
@pytest.mark.parametrize("what", sorted(CUSTOM))
@pytest.mark.parametrize("kind", ["MVAE", "MMVAE"])
@pytest.mark.parametrize(
    "there", [torch.arange(ROWS) < 4, torch.arange(ROWS) >= 6, torch.zeros(ROWS, dtype=torch.bool)]
)
def test_likelihoods_of_ones_own_are_asked_about_observed_values_alone(what: str, kind: str, there: Tensor) -> None:
    likelihood, x = CUSTOM[what]
    data = Batch({"x": x, "y": Y}, {"x": there})
    found = answers(make(kind, likelihood), data)
    assert all(value.isfinite().all() for value in found.values())
    hidden = Batch({"x": torch.where(there[:, None], x, torch.nan), "y": Y})
    assert_same(answers(make(kind, likelihood), hidden), found, "NaN")
    run = mmvae.fit(make(kind, likelihood), data, epochs=2, progress=False)
    assert np.isfinite(run.metrics[-1]["loss"])
