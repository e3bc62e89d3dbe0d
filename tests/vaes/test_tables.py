"""Tables of mixed types, counts with size factors, scales and dispersions by feature, as parts of models."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

import mmvae
from mmvae import Batch, Modality, models, transforms
from mmvae.likelihoods import (
    Bernoulli,
    Categorical,
    Columns,
    Laplace,
    Likelihood,
    NegativeBinomial,
    Normal,
    Poisson,
    ZeroInflated,
)
from mmvae.nn import MLPDecoder, MLPEncoder

quiet = functools.partial(mmvae.fit, progress=False, device="cpu", batch_size=50)


def columns() -> Columns:
    return Columns(
        {"price": Normal("learned"), "kind": Categorical(4), "visits": NegativeBinomial(), "is_new": Bernoulli()}
    )


def tables(rows: int = 300, seed: int = 0) -> dict[str, Tensor]:
    """A table of a price around 1000, a kind, a number of visits and a bit, and a vector that tells of all of them."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 2, generator=generator)
    price = 1000 + 50 * (z[:, 0] + 0.3 * torch.randn(rows, generator=generator))
    kind = (z[:, 1] + 0.3 * torch.randn(rows, generator=generator)).mul(1.5).add(1.5).round().clamp(0, 3)
    visits = torch.poisson((3 + z[:, 0]).exp(), generator=generator)
    is_new = (z[:, 1] > 0).float()
    other = z @ torch.randn(2, 5, generator=generator) + 0.1 * torch.randn(rows, 5, generator=generator)
    return {"table": torch.stack([price, kind, visits, is_new], 1), "other": other}


def small(shape: tuple[int, ...], likelihood: Likelihood) -> dict[str, Any]:
    return {
        "encoder": functools.partial(MLPEncoder, shape, hidden=(16,)),
        "decoder": functools.partial(MLPDecoder, shape=likelihood.parameter_shape(shape), hidden=(32,)),
    }


def model(missing: Any = "rows", kind: str = "MVTCAE", **options: Any) -> Any:
    torch.manual_seed(0)
    table = Modality("table", (4,), columns(), missing=missing, **options)
    return getattr(models, kind)([table, Modality("other", (5,), Normal("learned"), missing=missing)], 2)


def holes(data: dict[str, Tensor], share: float = 0.3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.where(torch.rand(each.shape, generator=generator) < share, torch.nan, each)
        for name, each in data.items()
    }


def test_a_table_trains_by_default_and_each_column_is_made_in_its_units() -> None:
    """From the other modality alone, each column is told better than by its mean or its most frequent value."""
    vae, data = model(), tables(800)
    run = quiet(vae, data, epochs=40, lr=3e-3)
    assert run.metrics[-1]["elbo"] > run.metrics[0]["elbo"]
    held = tables(200, seed=0)
    made = vae.generate(mmvae.infer(vae, {"other": data["other"]}, "other"))["table"]
    true = data["table"]
    assert 1 - (made[:, 0] - true[:, 0]).square().mean() / true[:, 0].var() > 0.5
    frequent = max(float((true[:, 1] == code).float().mean()) for code in range(4))
    assert float((made[:, 1] == true[:, 1]).float().mean()) > frequent + 0.1
    assert float((made[:, 1] - made[:, 1].round()).abs().max()) == 0
    ranks = torch.stack([made[:, 2], true[:, 2]]).argsort(1).argsort(1).double()
    assert float(torch.corrcoef(ranks)[0, 1]) > 0.7
    assert float(((made[:, 3] > 0.5) == (true[:, 3] > 0.5)).float().mean()) > 0.8
    assert held["table"].shape == (200, 4)


def test_the_density_of_a_row_is_that_of_its_columns_in_their_units() -> None:
    """A price is scored as the standardised price with a Jacobian, counts and codes as they are."""
    vae, data = model(), tables(50)
    vae.fit_transforms(Batch(data))
    batch, z = vae.prepare(data), torch.randn(50, 2)
    found = vae.score(batch, z)["table"]
    raw, table = vae.decoders["table"](z), data["table"]
    transform, likelihood = vae.transforms["table"], vae.likelihoods["table"]
    scale = likelihood.groups[0].scale
    price = torch.distributions.Normal(raw[:, 0] * transform.scale[0] + transform.loc[0], scale * transform.scale[0])
    centre = transform.centre[2].log()
    visits = NegativeBinomial()(torch.stack([raw[:, 5] + centre, raw[:, 6]], -1))
    expected = price.log_prob(table[:, 0]) + Categorical(4)(raw[:, 1:5]).log_prob(table[:, 1])
    expected = expected + visits.log_prob(table[:, 2]) + Bernoulli()(raw[:, 7]).log_prob(table[:, 3])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    trace = pyro.poutine.trace(pyro.poutine.condition(vae.model, data={"z": z})).get_trace(batch)
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["table"]["log_prob"], found, rtol=1e-4, atol=1e-3)


def test_columns_with_holes_score_what_is_there() -> None:
    """The likelihoods of two halves of the columns add up to that of the row."""
    vae, data = model("cells"), tables(40)
    vae.fit_transforms(Batch(data))
    z, half = torch.randn(40, 2), torch.rand(40, 4) < 0.5
    half[:, 0] = torch.arange(40) % 2 == 0
    half[:, 1] = ~half[:, 0]
    parts = [
        vae.score(vae.prepare({**data, "table": torch.where(mask, data["table"], torch.nan)}), z)["table"]
        for mask in (half, ~half)
    ]
    torch.testing.assert_close(sum(parts), vae.score(vae.prepare(data), z)["table"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE"])
def test_tables_with_holes_train_under_every_posterior(kind: str) -> None:
    vae, data = model("cells", kind), tables(120)
    data["table"][:50, 1] = torch.nan  # of which no batch need have any
    quiet(vae, holes(data) if kind != "JMVAE" else data, epochs=2)
    assert torch.isfinite(vae.elbo(data)).all()
    assert torch.isfinite(vae.log_likelihood(data, "table", num_samples=20)).all()


def test_holes_whose_placeholder_is_another_one_a_column() -> None:
    class Positive(Likelihood):
        hole = 1.0

        def forward(self, parameters: Tensor) -> Any:
            return pyro.distributions.Gamma(2.0, parameters.exp(), validate_args=True)

        def check_support(self, name: str, data: Tensor) -> None:
            if not bool((data > 0).all()):
                raise ValueError(f"{name}: Positive scores values above 0.")

    table = Columns({"a": Normal(), "b": Positive(), "c": Positive()})
    vae = models.MVAE([Modality("t", (3,), table, missing="cells", transform=None)], 2)
    data = torch.rand(30, 3) + 0.1
    data[torch.rand(30, 3) < 0.5] = torch.nan
    data[:, 0] = 1.0
    loss = vae.loss({"t": data})
    loss.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in vae.parameters() if p.grad is not None)


def test_tables_are_saved_loaded_and_resumed(tmp_path: Path) -> None:
    data = holes(tables(120))
    whole, stopped = model("cells"), model("cells")
    quiet(whole, data, epochs=3)
    quiet(stopped, data, epochs=1, out=tmp_path)
    quiet(model("cells"), data, epochs=3, out=tmp_path, resume=True)
    loaded: Any = mmvae.load(tmp_path)
    assert loaded.modalities[0].likelihood.names == ("price", "kind", "visits", "is_new")
    assert torch.equal(mmvae.infer(loaded, data).mean, mmvae.infer(whole, data).mean)
    changed = Columns({"price": Normal(), **{name: Poisson() for name in "abc"}})
    other = models.MVTCAE([Modality("table", (4,), changed, missing="cells"), whole.modalities[1]], 2)
    with pytest.raises(ValueError, match="columns"):
        quiet(other, data, epochs=4, out=tmp_path, resume=True)


COUNTED: dict[str, tuple[Likelihood, dict[str, Any]]] = {
    "poisson of a library": (Poisson("observed"), {}),
    "by feature": (NegativeBinomial("by_feature"), {}),
    "by feature of a library": (NegativeBinomial("by_feature", library="observed"), {}),
    "of a covariate": (NegativeBinomial(library="depth"), {"covariates": {"depth": None}}),
    "zero-inflated": (ZeroInflated(NegativeBinomial()), {}),
    "zero-inflated of a library": (ZeroInflated(NegativeBinomial("by_feature", library="observed")), {}),
}


def counts(rows: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    depth = (torch.randn(rows, generator=generator) * 0.7 + 2).exp()
    profile = torch.randn(rows, 2, generator=generator) @ torch.randn(2, 6, generator=generator)
    return torch.poisson(depth[:, None] * profile.softmax(1) * 6, generator=generator), depth


@pytest.mark.parametrize("missing", ["rows", "cells"])
@pytest.mark.parametrize(("likelihood", "options"), COUNTED.values(), ids=COUNTED)
def test_counts_train_are_saved_and_run_under_autocast(
    likelihood: Likelihood, options: dict[str, Any], missing: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    data, depth = counts()
    batch: dict[str, Any] = {"rna": data, "other": torch.randn(200, 3)}
    if missing == "cells":
        batch["rna"] = torch.where(torch.rand(data.shape) < 0.8, data, torch.nan)
    given = {"covariates": {"depth": depth}} if options else {}
    modalities = [Modality("rna", (6,), likelihood, missing=missing), Modality("other", (3,), Normal())]
    vae = models.MVAE(modalities, 2, **options)
    run = quiet(vae, batch, epochs=3, out=tmp_path, **given)
    assert run.metrics[-1]["elbo"] > run.metrics[0]["elbo"]
    loaded: Any = mmvae.load(tmp_path)
    torch.manual_seed(1)
    expected = vae.loss(Batch(batch, **given)).total
    torch.manual_seed(1)
    torch.testing.assert_close(loaded.loss(Batch(batch, **given)).total, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = vae.loss(Batch(batch, **given))
    assert loss.total.dtype == torch.float32
    assert torch.isfinite(loss.total)
    made = vae.generate(mmvae.infer(vae, Batch(batch, **given)))["rna"]
    assert torch.isfinite(made).all()


@pytest.mark.parametrize("make", [Poisson, NegativeBinomial, lambda **kw: ZeroInflated(Poisson(**kw))])
def test_expected_counts_grow_with_the_total_of_the_row(make: Any) -> None:
    """Twice the counts, twice the mean. With holes, the total is relative to the usual one of what is there."""
    torch.manual_seed(0)
    data, _ = counts()
    vae = models.MVAE([Modality("rna", (6,), make(library="observed"), missing="cells")], 2)
    vae.fit_transforms(Batch({"rna": data}))
    z, data = torch.randn(200, 2), data + 1
    means = [vae._observation("rna", z, None, {}, vae.prepare({"rna": each})).mean for each in (data, 2 * data, data)]
    torch.testing.assert_close(means[1], 2 * means[0], rtol=1e-4, atol=1e-4)
    total = data.sum(1) / vae.transforms["rna"].centre.sum()
    usual = vae.decode(z)["rna"].mean
    torch.testing.assert_close(means[0], usual * total[:, None], rtol=1e-4, atol=1e-4)
    mask = torch.ones(200, 6, dtype=torch.bool)
    mask[:, 2:4] = False
    batch = vae.prepare({"rna": data}, {"rna": mask})
    sizes = vae._size_factors("rna", batch, {})
    centre = vae.transforms["rna"].centre
    expected = (data * mask).sum(1) / (centre * mask[0]).sum()
    torch.testing.assert_close(sizes, expected)


def test_a_covariate_is_a_size_factor_relative_to_its_mean() -> None:
    torch.manual_seed(0)
    data, depth = counts()
    vae = models.MVAE([Modality("rna", (6,), Poisson("depth"))], 2, covariates={"depth": None})
    vae.fit_transforms(Batch({"rna": data}, covariates={"depth": depth}))
    latents = mmvae.infer(vae, {"rna": data}, covariates={"depth": depth})
    parts = [vae._size_factors("rna", None, {"depth": value}) for value in (depth, 2 * depth)]
    torch.testing.assert_close(parts[0], depth / depth.mean())
    torch.testing.assert_close(parts[1], 2 * parts[0])
    assert vae.generate(latents)["rna"].shape == (200, 6)
    with pytest.raises(ValueError, match=r"'depth' is a size factor .*above 0, got 0"):
        vae.loss(Batch({"rna": data}, covariates={"depth": 0 * depth}))


@pytest.mark.parametrize(
    ("modality", "options", "message"),
    [
        (Modality("x", (3,), Poisson("depth")), {}, "x: library='depth' is not a numeric covariate"),
        (Modality("x", (3,), Poisson("batch")), {"covariates": {"batch": 3}}, "x: library='batch' is not a numeric"),
        (Modality("x", (2,), columns()), {}, r"Columns has 4 likelihoods .*\(4,\), got \(2,\)"),
        (Modality("x", (4,), columns(), transform=transforms.Standardize()), {}, "x: transform Standardize is one for"),
        (
            Modality("x", (4,), columns(), transform=transforms.ByColumn({"a": None})),
            {},
            "transform ByColumn is for tables of 1 columns",
        ),
    ],
)
def test_refuses_what_does_not_go_together(modality: Modality, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.MVAE([modality], 2, **options)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_values_that_a_column_cannot_score_are_named(place: int) -> None:
    data = tables(30)
    data["table"][7, place] = 0.5
    with pytest.raises(ValueError, match=f"table, column '{columns().names[place]}': .* got 0.5 in row 7"):
        model().loss(data)


@pytest.mark.parametrize("likelihood", [Normal("by_feature"), Laplace("by_feature")])
@pytest.mark.parametrize(("shape", "size"), [((4,), (4,)), ((5, 3), (3,)), ((2, 8, 8), (2, 1, 1))])
def test_scales_by_feature_are_learned_for_each(
    likelihood: Likelihood, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    """Columns of other noise get another scale; of images each channel has one."""
    torch.manual_seed(0)
    vae = models.MVAE([Modality("x", shape, likelihood, **small(shape, likelihood))], 2)
    scale: Any = vae.likelihoods["x"].scale
    assert scale.shape == size
    if shape != (4,):
        vae.loss({"x": torch.randn(6, *shape)}).total.backward()
        assert vae.likelihoods["x"].log_scale.grad.any()
        return
    z = torch.randn(400, 1)
    data = z.expand(400, 4) + torch.tensor([0.05, 0.3, 1.0, 1.0]) * torch.randn(400, 4)
    quiet(vae, {"x": data}, epochs=40, lr=0.01)
    learned = vae.likelihoods["x"].scale
    assert learned[0] < learned[1] < learned[2]
