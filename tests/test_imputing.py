"""Holes are filled with what the model expects there, and nothing else is touched."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal as TorchNormal
from vaes.test_cells import SIZES, exact, masks, with_holes
from vaes.test_tables import columns, holes, tables

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.data import MultimodalDataset
from mmvae.testing import LinearGaussian


def test_holes_get_their_conditional_means_and_quantiles() -> None:
    """The closed form of the linear-Gaussian model with holes."""
    yardstick, model = exact()
    data, present = yardstick.sample(30), masks(30, SIZES)
    imputed = mmvae.impute(model, with_holes(data, present), num_samples=6000, interval=0.9)
    at_mean = mmvae.impute(model, with_holes(data, present))
    for name, predicted in yardstick.predictive_of_cells(data, present).items():
        hole = ~present[name]
        assert torch.equal(imputed[name][present[name]], data[name][present[name]])
        torch.testing.assert_close(at_mean[name].double()[hole], predicted.mean[hole], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(imputed[name].double()[hole], predicted.mean[hole], atol=0.05, rtol=0)
        assert imputed.lower is not None
        assert imputed.upper is not None
        for end, level in ((imputed.lower, 0.05), (imputed.upper, 0.95)):
            quantile = TorchNormal(predicted.mean, predicted.stddev).icdf(torch.tensor(level, dtype=torch.float64))
            torch.testing.assert_close(end[name].double()[hole], quantile[hole], atol=0.15, rtol=0)
            assert torch.equal(end[name][present[name]], data[name][present[name]])


def test_intervals_hold_the_share_that_was_asked_for() -> None:
    """Of few draws as of many."""
    yardstick, model = exact()
    data, present = yardstick.sample(3000), masks(3000, SIZES)
    for draws in (20, 200):
        found = mmvae.impute(model, with_holes(data, present), num_samples=draws, interval=0.8)
        assert found.lower is not None
        assert found.upper is not None
        inside = [(found.lower[name] <= data[name]) & (data[name] <= found.upper[name]) for name in SIZES]
        hidden = [~present[name] for name in SIZES]
        share = torch.cat([one[where] for one, where in zip(inside, hidden, strict=True)]).float().mean()
        assert abs(float(share) - 0.8) < 0.015


@functools.cache
def table_model(**options: Any) -> Any:
    torch.manual_seed(0)
    modalities = [
        Modality("table", (4,), columns(), missing="cells"),
        Modality("other", (5,), likelihoods.Normal("learned"), missing="cells"),
        Modality("words", (3,), likelihoods.Categorical(4)),
    ]
    return models.MVTCAE(modalities, 2, **options)


def mixed(rows: int = 40) -> dict[str, Tensor]:
    return {**tables(rows), "words": torch.randint(4, (rows, 3), generator=torch.Generator().manual_seed(2))}


def test_every_kind_of_hole_is_filled_in_the_type_of_the_data() -> None:
    """Cells, rows, and modalities that no row has."""
    model, data = table_model(), mixed()
    given = {"table": holes(tables(40))["table"].double(), "words": data["words"].int()}
    observed = {"words": torch.arange(40) % 3 > 0}
    imputed = mmvae.impute(model, given, interval=0.5, observed=observed)
    assert {name: (each.dtype, tuple(each.shape)) for name, each in imputed.items()} == {
        "table": (torch.float64, (40, 4)),
        "other": (torch.float32, (40, 5)),
        "words": (torch.int32, (40, 3)),
    }
    there = ~given["table"].isnan()
    assert torch.equal(imputed["table"][there], given["table"][there])
    assert torch.equal(imputed["words"][observed["words"]], given["words"][observed["words"]])
    assert imputed["table"].isfinite().all()
    codes = imputed["table"][:, 1]
    assert torch.equal(codes, codes.round())
    assert imputed.lower is not None
    assert imputed.upper is not None
    assert (imputed.lower["other"] < imputed.upper["other"]).all()
    for name in imputed:
        assert (imputed.lower[name] <= imputed.upper[name]).all()
    for name, each in (("words", imputed["words"]), ("table", imputed["table"])):
        column = slice(None) if name == "words" else slice(1, 2)
        assert torch.equal(imputed.lower[name][:, column], each[:, column])
        assert torch.equal(imputed.upper[name][:, column], each[:, column])


@pytest.mark.parametrize("options", [{}, {"num_samples": 7}, {"interval": 0.9}, {"num_samples": 300, "interval": 0.9}])
def test_the_answer_does_not_depend_on_the_form_of_the_data_or_the_state_of_generators(options: dict[str, Any]) -> None:
    model, given = table_model(), holes(tables(40))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = mmvae.impute(model, given, **options)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    masked = {name: np.ma.masked_invalid(value.numpy()) for name, value in given.items()}
    for data in (Batch(given), MultimodalDataset(given), masked):
        again = mmvae.impute(model, data, **options)
        for name in first:
            torch.testing.assert_close(again[name], first[name])
            if first.lower is not None and again.lower is not None:
                torch.testing.assert_close(again.lower[name], first.lower[name])
    assert (first.lower is None) == ("interval" not in options)


def test_averages_over_draws_take_the_most_probable_code_of_the_mixture() -> None:
    """Two draws of codes 0 (0.6) and 1 (0.4), one of 1 (1.0): the mixture says 1, where two of three modes say 0."""
    likelihood = likelihoods.Categorical(2)
    logits = torch.tensor([[[0.6, 0.4]], [[0.6, 0.4]], [[0.01, 0.99]]]).log()
    distribution = likelihood(logits)
    assert likelihood.point(distribution).flatten().tolist() == [0, 0, 1]
    assert likelihood.agreed(likelihood.point(distribution), distribution).tolist() == [1]
    table = likelihoods.Columns({"a": likelihood, "b": likelihoods.Normal()})
    both = table(torch.cat([logits, torch.tensor([[[1.0]], [[2.0]], [[6.0]]])], -1))
    assert table.agreed(table.point(both), both).tolist() == [[1.0, 3.0]]


def test_covariates_and_size_factors_of_the_rows_are_used() -> None:
    """The table of a row of twice the depth is filled with about twice the counts."""
    torch.manual_seed(0)
    modalities = [
        Modality("rna", (6,), likelihoods.NegativeBinomial(library="observed"), missing="cells"),
        Modality("adt", (4,), likelihoods.Poisson("depth")),
    ]
    model = models.MVAE(modalities, 2, covariates={"depth": None})
    counts = torch.poisson(torch.full((20, 6), 50.0))
    rna = torch.cat([counts, 10 * counts])
    depth = torch.cat([torch.ones(20), torch.full((20,), 3.0)])
    model.fit_transforms(
        Batch({"rna": rna, "adt": torch.poisson(torch.full((40, 4), 9.0))}, covariates={"depth": depth})
    )
    mask = torch.ones(40, 6, dtype=torch.bool)
    mask[:, 0] = False
    imputed = mmvae.impute(model, {"rna": rna}, observed={"rna": mask}, covariates={"depth": depth})
    filled = imputed["rna"][:, 0]
    assert float(filled[20:].mean() / filled[:20].mean()) == pytest.approx(10, rel=0.3)
    assert float(imputed["adt"][20:].mean() / imputed["adt"][:20].mean()) == pytest.approx(3, rel=0.3)
    with pytest.raises(ValueError, match="covariates: 'depth' is missing"):
        mmvae.impute(model, {"rna": rna})


def test_what_is_absent_is_what_generation_gives() -> None:
    """Given the same covariates, without chance."""
    yardstick = LinearGaussian.orthogonal({"a": 4, "b": 3}, 2, covariates=2)
    model = models.MVAE(yardstick.modalities(), 2, covariates=yardstick.covariates)
    known = yardstick.sample_covariates(10)
    data = yardstick.sample(10, covariates=known)
    made = mmvae.impute(model, {"a": data["a"]}, covariates=known)
    expected = model.generate(mmvae.infer(model, {"a": data["a"]}, covariates=known))
    torch.testing.assert_close(made["b"], expected["b"])
    assert torch.equal(made["a"], data["a"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, d: mmvae.impute(m, d, interval=90), ValueError, "interval: expected a share between 0 and 1"),
        (lambda m, d: mmvae.impute(m, d, num_samples=0), ValueError, "num_samples"),
        (lambda m, d: mmvae.impute(nn.Linear(1, 1), d), TypeError, "Linear does not say how its data"),  # type: ignore[arg-type]
        (lambda m, d: mmvae.impute(m, {"tables": d["table"]}), ValueError, "'tables' is no modality"),
        (lambda m, d: mmvae.impute(m, {"table": d["table"] * torch.nan}), ValueError, "observed"),
    ],
)
def test_refuses_what_cannot_be_filled(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(table_model(), mixed())
