"""Raw data of any unit, scale and size trains by default, as well as data that was prepared by hand."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.nn import MLPDecoder, MLPEncoder

COLUMNS = 6
quiet = functools.partial(mmvae.fit, progress=False, device="cpu", batch_size=50)


def tables(rows: int = 200, noise: float = 0.3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(rows, 2, generator=generator)

    def table() -> Tensor:
        noises = noise * torch.randn(rows, COLUMNS, generator=generator)
        return z @ torch.randn(2, COLUMNS, generator=generator) + noises

    return {"a": table(), "b": table()}


def networks(size: int, *parameters: int) -> dict[str, Any]:
    """Networks of the library, smaller than the default ones."""
    return {
        "encoder": functools.partial(MLPEncoder, (size,), hidden=(64,)),
        "decoder": functools.partial(MLPDecoder, shape=(size, *parameters), hidden=(64,)),
    }


def trained(data: dict[str, Tensor], likelihood: Any, kind: str = "MVTCAE", **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    shared = networks(COLUMNS)
    model = getattr(models, kind)([Modality(name, (COLUMNS,), likelihood, **shared) for name in data], 2)
    return model, quiet(model, data, **options)


def explained(made: Tensor, true: Tensor) -> Tensor:
    """R² of each column."""
    return 1 - (made - true).square().mean(0) / true.var(0, correction=0)


UNITS = {
    "shifted by 1000": (1000.0, 1.0),
    "shifted by ten thousand": (10_000.0, 1.0),
    "of deviation 2e-4": (0.0, 2e-4),
    "of scales 0.01 to 1000": (50.0, torch.logspace(-2, 3, COLUMNS)),
}


@pytest.mark.parametrize("scale", [1.0, "learned"], ids=["fixed", "learned"])
@pytest.mark.parametrize(("shift", "unit"), UNITS.values(), ids=UNITS)
def test_training_is_the_same_in_any_unit(shift: float, unit: Any, scale: Any) -> None:
    """The loss differs by the Jacobian, the latents do not, and what is imputed differs by the unit."""
    data = tables()
    there = {name: (value.double() * unit + shift).float() for name, value in data.items()}
    jacobian = -2 * float(torch.as_tensor(unit).log().expand(COLUMNS).sum())
    plain, run = trained(data, likelihoods.Normal(scale), epochs=3, lr=1e-2)
    model, moved = trained(there, likelihoods.Normal(scale), epochs=3, lr=1e-2)
    assert moved.metrics[-1]["elbo"] == pytest.approx(run.metrics[-1]["elbo"] + jacobian, abs=0.15)
    expected, found = plain.generate(plain.infer(data, "a"))["b"], model.generate(model.infer(there, "a"))["b"]
    torch.testing.assert_close((found - shift) / unit, expected, atol=0.1, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MVAE", "MVTCAE", "MoPoE"])
def test_columns_of_scales_from_a_hundredth_to_a_thousand_are_all_imputed(kind: str) -> None:
    unit = torch.logspace(-2, 3, COLUMNS)
    data = {name: value * unit + 5 * unit for name, value in tables(600).items()}
    model, _ = trained(
        {name: value[:400] for name, value in data.items()}, likelihoods.Normal(), kind, epochs=30, lr=5e-3
    )
    made = model.generate(model.infer({"a": data["a"][400:]}, "a"))["b"]
    assert (explained(made, data["b"][400:]) > 0.5).all()


def rank_correlation(made: Tensor, true: Tensor) -> float:
    return float(np.mean([spearmanr(made[:, column], true[:, column])[0] for column in range(true.shape[1])]))


def counts(rows: int, columns: int) -> dict[str, Tensor]:
    """Two over-dispersed tables, with counts to a quarter of a million."""
    generator = np.random.default_rng(0)
    z = generator.normal(size=(1500, 4))
    mean = np.exp(z @ (generator.normal(size=(4, 2 * columns)) * 0.8) + 3)
    both = torch.from_numpy(generator.poisson(generator.gamma(8, mean / 8))[:rows]).float()
    return {"a": both[:, :columns], "b": both[:, columns:]}


def sequencing(rows: int) -> dict[str, Tensor]:
    """Sparse counts of genes and large ones of proteins, of cells in four types and of any depth."""
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 4, rows)
    z = generator.normal(size=(4, 3))[kind] * 1.5 + 0.5 * generator.normal(size=(rows, 3))
    depth = np.exp(0.6 * generator.normal(size=(rows, 1)))
    rna = np.exp(z @ generator.normal(size=(3, 60)) * 0.7 - 1.0) * depth
    protein = np.exp(z @ generator.normal(size=(3, 12)) * 0.8 + 5.0) * depth
    noisy = generator.poisson(generator.gamma(4, protein / 4))
    return {"rna": torch.from_numpy(generator.poisson(rna)).float(), "protein": torch.from_numpy(noisy).float()}


def test_the_first_epoch_on_counts_begins_near_the_data() -> None:
    """A decoder's zero stands for the usual count: the bound of the first epoch is of the size of the best one."""
    data = counts(300, 15)
    assert float(data["b"].max()) > 10_000
    torch.manual_seed(0)
    each = networks(15, 2)
    model = models.MVTCAE([Modality(name, (15,), likelihoods.NegativeBinomial(), **each) for name in data], 4)
    run = quiet(model, data, epochs=1)
    assert run.metrics[0]["elbo"] > -250


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("MoPoE", 0.8), ("MVTCAE", 0.8), ("MVAE", 0.6)])
def test_counts_to_a_quarter_of_a_million_are_imputed(kind: str, least: float) -> None:
    data = counts(1500, 15)
    assert float(torch.cat([*data.values()]).max()) == 244_755
    torch.manual_seed(0)
    modalities = [Modality(name, (15,), likelihoods.NegativeBinomial()) for name in data]
    model = getattr(models, kind)(modalities, 4)
    quiet(model, {name: value[:1000] for name, value in data.items()}, epochs=20, batch_size=100)
    made = model.generate(model.infer({"a": data["a"][1000:]}, "a"))["b"]
    assert rank_correlation(made, data["b"][1000:]) > least


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["auto", mmvae.transforms.LogNormalize()], ids=["log1p", "normalised"])
def test_proteins_are_imputed_from_genes(transform: Any) -> None:
    data = sequencing(1200)
    torch.manual_seed(0)
    modalities = [
        Modality(name, tuple(value.shape[1:]), likelihoods.NegativeBinomial(), transform=transform)
        for name, value in data.items()
    ]
    model = models.MoPoE(modalities, 4)
    run = quiet(model, {name: value[:900] for name, value in data.items()}, epochs=15, batch_size=100)
    assert run.metrics[0]["elbo"] > -1000
    made = model.generate(model.infer({"rna": data["rna"][900:]}, "rna"))["protein"]
    assert rank_correlation(made, data["protein"][900:]) > 0.6
