"""MuData objects as data, with the package where it is installed and with a stand-in of its attributes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import mmvae
from mmvae import likelihoods, models
from mmvae.data import from_mudata
from mmvae.sources import WithSparse

RNA_CELLS = [f"cell {number}" for number in range(30)]
PROTEIN_CELLS = [f"cell {number}" for number in (29, 3, 11, *range(40, 60))]
GENERATOR = np.random.default_rng(0)
RNA = GENERATOR.poisson(0.5, (30, 12)).astype(np.float32)
RNA[4] = 0  # a cell that was measured, and has no count
PROTEIN = GENERATOR.normal(size=(23, 5)).astype(np.float32)


def tables(cells: list[str], batches: str, features: list[str]) -> dict[str, pd.DataFrame]:
    obs = pd.DataFrame(
        {"batch": [batches[row % len(batches)] for row in range(len(cells))], "age": np.arange(len(cells)) / 2},
        index=cells,
    )
    chosen = pd.DataFrame({"highly_variable": [place % 2 == 0 for place in range(len(features))]}, index=features)
    return {"obs": obs, "var": chosen}


PARTS = {
    "rna": (sparse.csr_matrix(RNA), tables(RNA_CELLS, "ab", [f"gene {place}" for place in range(12)])),
    "protein": (PROTEIN, tables(PROTEIN_CELLS, "ac", [f"protein {place}" for place in range(5)])),
}


def real_object() -> Any:
    """Of the package."""
    mudata, anndata = pytest.importorskip("mudata"), pytest.importorskip("anndata")
    parts = {}
    for name, (values, frames) in PARTS.items():
        parts[name] = anndata.AnnData(values.copy(), **{key: frame.copy() for key, frame in frames.items()})
        parts[name].layers["doubled"] = 2 * values
    return mudata.MuData(parts)


def stand_in() -> Any:
    """The attributes that are read, with the values that the package gives them."""
    names = pd.Index(list(dict.fromkeys([*RNA_CELLS, *PROTEIN_CELLS])))
    obs, obsmap, mod = pd.DataFrame(index=names), {}, {}
    for name, (values, frames) in PARTS.items():
        obsmap[name] = (frames["obs"].index.get_indexer(names) + 1).astype(np.uint8)
        for column in frames["obs"]:
            obs[f"{name}:{column}"] = frames["obs"][column].reindex(names)
        mod[name] = SimpleNamespace(
            X=values, layers={"doubled": 2 * values}, var=frames["var"], var_names=frames["var"].index
        )
    return SimpleNamespace(mod=mod, obs=obs, obsmap=obsmap, obs_names=names, n_obs=len(names), obsm={})


@pytest.fixture(params=[real_object, stand_in], ids=["mudata", "stand-in"])
def mdata(request: pytest.FixtureRequest) -> Any:
    if request.param is real_object:
        pytest.importorskip("mudata")
    return request.param()


pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore:.*(MuData|pull_on_update|obs_names|var_names).*"
)


def whole(cells: Any) -> Any:
    return cells.data.batch(torch.arange(len(cells)))


def test_cells_are_aligned_and_presence_is_that_of_the_object(mdata: Any) -> None:
    cells = from_mudata(mdata)
    assert isinstance(cells.data, WithSparse)
    assert len(cells) == 50
    batch = whole(cells)
    names = list(cells.names)
    for row, name in enumerate(names):
        assert bool(batch.observed["rna"][row]) == (name in RNA_CELLS)
        assert bool(batch.observed["protein"][row]) == (name in PROTEIN_CELLS)
        if name in RNA_CELLS:
            assert batch.data["rna"][row].tolist() == RNA[RNA_CELLS.index(name)].tolist()
        if name in PROTEIN_CELLS:
            assert batch.data["protein"][row].tolist() == PROTEIN[PROTEIN_CELLS.index(name)].tolist()
    assert bool(batch.observed["rna"][names.index("cell 4")])  # whose counts add up to 0


def test_values_decide_on_the_likelihood(mdata: Any) -> None:
    rna, protein = from_mudata(mdata).modalities
    assert (rna.name, rna.shape, type(rna.likelihood)) == ("rna", (12,), likelihoods.NegativeBinomial)
    assert (protein.name, protein.shape, type(protein.likelihood)) == ("protein", (5,), likelihoods.Normal)
    chosen = from_mudata(mdata, likelihoods={"rna": likelihoods.Poisson()})
    assert isinstance(chosen.modalities[0].likelihood, likelihoods.Poisson)
    mdata.mod["rna"].layers["open"] = sparse.csr_matrix((RNA > 0).astype(np.float32))
    assert isinstance(from_mudata(mdata, layer={"rna": "open"}).modalities[0].likelihood, likelihoods.Bernoulli)


def test_layers_and_features_are_chosen(mdata: Any) -> None:
    cells = from_mudata(mdata, ["rna"], layer="doubled", features="highly_variable")
    assert len(cells) == 30
    assert cells.modalities[0].shape == (6,)
    batch = whole(cells)
    rows = [RNA_CELLS.index(name) for name in cells.names]
    assert np.array_equal(batch.data["rna"].numpy(), 2 * RNA[rows][:, ::2])
    named = from_mudata(mdata, features={"rna": ["gene 7", "gene 0"]})
    rows = [row for row, name in enumerate(named.names) if name in RNA_CELLS]
    first = whole(named).data["rna"][rows].numpy()
    assert np.array_equal(first, RNA[[RNA_CELLS.index(named.names[row]) for row in rows]][:, [7, 0]])
    assert named.modalities[1].shape == (5,)


def test_a_model_trains_and_its_latents_go_back(mdata: Any) -> None:
    cells = from_mudata(mdata, labels="batch", covariates=["batch"])
    assert cells.covariates == {"batch": 3}
    assert cells.categories == {"batch": ("a", "b", "c")}
    torch.manual_seed(0)
    vae = models.MoPoE(cells.modalities, latent_dim=2, covariates=cells.covariates)
    mmvae.fit(vae, cells.data, epochs=2, batch_size=10, validation=0.2, progress=False)
    latents = mmvae.infer(vae, cells.data)
    cells.write(mdata, latents)
    assert mdata.obsm["X_mmvae"].shape == (50, 2)
    place = list(mdata.obs_names).index("cell 50")
    assert mdata.obsm["X_mmvae"][place].tolist() == latents.mean[list(cells.names).index("cell 50")].tolist()
    evaluation = mmvae.evaluate(vae, cells.data, ["active_units"], progress=False)
    assert evaluation.rows


def test_cells_without_the_chosen_modality_are_nan_in_the_object(mdata: Any) -> None:
    cells = from_mudata(mdata, ["protein"])
    cells.write(mdata, torch.ones(23, 3), key="X_protein")
    known = np.isin(np.asarray(mdata.obs_names), PROTEIN_CELLS)
    found = np.asarray(mdata.obsm["X_protein"])
    assert (found[known] == 1).all()
    assert np.isnan(found[~known]).all()
    with pytest.raises(ValueError, match=r"latents: expected \[23, D\], a row for each cell, got shape \(50, 3\)"):
        cells.write(mdata, torch.ones(50, 3))


def test_covariates_are_codes_or_numbers(mdata: Any) -> None:
    cells = from_mudata(mdata, covariates=["batch", "age"])
    assert cells.covariates == {"batch": 3, "age": None}
    batch = whole(cells)
    row = list(cells.names).index("cell 41")
    assert cells.categories["batch"][int(batch.covariates["batch"][row])] == "ac"[PROTEIN_CELLS.index("cell 41") % 2]
    assert float(batch.covariates["age"][row]) == PROTEIN_CELLS.index("cell 41") / 2


def test_a_part_of_an_object(mdata: Any) -> None:
    if isinstance(mdata, SimpleNamespace):
        pytest.skip("views are the package's")
    cells = from_mudata(mdata[mdata.obs["protein:batch"] == "c"])
    assert set(cells.names) < set(PROTEIN_CELLS)
    batch = whole(cells)
    assert batch.observed["protein"].all()
    row = list(cells.names).index("cell 3")
    assert batch.data["rna"][row].tolist() == RNA[3].tolist()


def test_files_are_read(tmp_path: Path) -> None:
    mudata = pytest.importorskip("mudata")
    real_object().write(tmp_path / "cells.h5mu")
    cells = from_mudata(tmp_path / "cells.h5mu")
    expected = from_mudata(real_object())
    assert torch.equal(whole(cells).data["rna"], whole(expected).data["rna"])
    backed = from_mudata(mudata.read_h5mu(tmp_path / "cells.h5mu", backed=True))
    assert torch.equal(whole(backed).data["rna"], whole(expected).data["rna"])


def test_a_large_matrix_stays_sparse() -> None:
    """200,000 cells of 30,000 genes would take 24 GB."""
    cells = 200_000
    matrix = sparse.csr_matrix(
        (np.ones(cells, np.float32), (np.arange(cells), np.arange(cells) % 30_000)), shape=(cells, 30_000)
    )
    names = pd.Index([str(number) for number in range(cells)])
    obsmap = np.arange(cells) + 1
    obsmap[::2] = 0
    var = pd.DataFrame(index=[str(number) for number in range(30_000)])
    rna = SimpleNamespace(X=matrix, layers={}, var=var, var_names=var.index)
    mdata = SimpleNamespace(
        mod={"rna": rna}, obs=pd.DataFrame(index=names), obsmap={"rna": obsmap}, obs_names=names, n_obs=cells, obsm={}
    )
    read = from_mudata(mdata)  # type: ignore[arg-type]
    assert len(read) == cells // 2
    batch = read.data.batch(torch.tensor([7]))
    assert batch.data["rna"].nonzero().tolist() == [[0, 15]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["atac"]}, "modalities: the object has no 'atac'; it has 'rna', 'protein'"),
        ({"modalities": []}, "modalities: name at least one"),
        ({"layer": "raw"}, "layer: 'rna' has no layer 'raw'; it has 'doubled'"),
        ({"features": "hvg"}, "features: 'rna' has no column 'hvg' in var; it has 'highly_variable'"),
        ({"features": {"rna": ["gene 99"]}}, "features: 'rna' has no feature 'gene 99'"),
        ({"features": {"rna": []}}, "features: none of 'rna' is chosen"),
        ({"labels": "type"}, "obs: the object has no column 'type'; it has 'rna:batch'"),
        ({"covariates": ["rna:batch"]}, "covariates: 'rna:batch' is not known for 20 cells .* fill it in"),
    ],
)
def test_errors_say_what_there_is(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mudata(stand_in(), **options)


def test_other_objects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match=r"mdata: expected a mudata.MuData object or the path of one, got dict"):
        from_mudata({"rna": RNA})  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "mudata", None)
    with pytest.raises(ImportError, match=r'from_mudata needs mudata; install it with pip install "mmvae\[omics\]"'):
        from_mudata("cells.h5mu")
