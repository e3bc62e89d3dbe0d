"""Sparse matrices as data: sparse until a batch is read, and then what the dense matrix would have been."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.data import MultimodalDataset
from mmvae.sources import WithSparse, as_source, consecutive

GENERATOR = np.random.default_rng(0)
DENSE = (GENERATOR.poisson(0.3, (20, 7))).astype(np.float32)
OTHER = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
SEEN = torch.arange(20) % 4 > 0


class View(sparse.csr_matrix):
    """A subclass, as other packages have for parts of their objects."""


FORMS: dict[str, Any] = {
    "view": View,
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_array,
    "coo": sparse.coo_matrix,
    "integers": lambda dense: sparse.csr_array(dense.astype(np.uint16)),
    "torch coo": lambda dense: torch.from_numpy(dense).to_sparse(),
    "torch csr": lambda dense: torch.from_numpy(dense).to_sparse_csr(),
}

every_form = pytest.mark.parametrize("form", FORMS)


pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")


def vae(names: Any) -> models.MVAE:
    torch.manual_seed(0)
    modalities = {
        "rna": Modality("rna", (7,), likelihoods.NegativeBinomial()),
        "other": Modality("other", (3,), likelihoods.Normal()),
    }
    return models.MVAE([modalities[name] for name in names], latent_dim=2)


@every_form
def test_rows_are_those_of_the_dense_matrix(form: str) -> None:
    source = as_source({"rna": FORMS[form](DENSE), "other": OTHER}, {"rna": SEEN}, labels=torch.arange(20))
    assert isinstance(source, WithSparse)
    dense = as_source({"rna": torch.from_numpy(DENSE), "other": OTHER}, {"rna": SEEN}, labels=torch.arange(20))
    rows = torch.tensor([3, 0, 4, 19, 3])
    for found, expected in (
        (source.batch(rows), dense.batch(rows)),
        (consecutive(source, 2, 9), consecutive(dense, 2, 9)),
    ):
        assert torch.equal(found.data["rna"].float(), expected.data["rna"])
        assert torch.equal(found.observed["rna"], expected.observed["rna"])
        assert torch.equal(found.data["other"], expected.data["other"])
        assert torch.equal(found.labels, expected.labels)  # type: ignore[arg-type]
        assert found.complete == expected.complete


@every_form
@pytest.mark.parametrize("with_other", [True, False])
def test_models_see_no_difference(form: str, with_other: bool) -> None:
    rest = {"other": OTHER} if with_other else {}
    whole, parted = {"rna": torch.from_numpy(DENSE), **rest}, {"rna": FORMS[form](DENSE), **rest}
    assert torch.equal(mmvae.infer(vae(whole), whole).mean, mmvae.infer(vae(whole), parted).mean)
    torch.manual_seed(1)
    expected = vae(whole).loss(whole).total
    torch.manual_seed(1)
    assert torch.equal(vae(whole).loss(parted).total, expected)
    rows = [
        mmvae.fit(vae(whole), each, epochs=1, validation=0.2, progress=False).metrics[-1] for each in (whole, parted)
    ]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"])
    found, wanted = (mmvae.evaluate(vae(whole), each, ["cosine"], progress=False).rows for each in (parted, whole))
    assert found == wanted


@every_form
def test_datasets_keep_matrices_sparse(form: str) -> None:
    dataset = MultimodalDataset({"rna": FORMS[form](DENSE), "other": OTHER}, {"rna": torch.arange(20).flip(0)})
    assert dataset.shapes == {"rna": (7,), "other": (3,)}
    assert torch.equal(dataset.batch([0, 5]).data["rna"].float(), torch.from_numpy(DENSE[[19, 14]]))
    assert torch.equal(dataset.subset([5]).to("cpu").everything().data["rna"].float(), torch.from_numpy(DENSE[[14]]))


def test_a_matrix_too_large_for_memory_when_dense() -> None:
    """A million rows of 30,000 columns would take 120 GB."""
    entries = np.arange(1_000_000)
    matrix = sparse.csr_array((np.ones(1_000_000, np.float32), (entries, entries % 30_000)), shape=(1_000_000, 30_000))
    source = as_source({"rna": matrix})
    batch = source.batch(torch.tensor([5, 999_999]))
    assert batch.data["rna"].shape == (2, 30_000)
    assert batch.data["rna"].nonzero().tolist() == [[0, 5], [1, 999_999 % 30_000]]


def test_values_that_are_not_finite_are_errors() -> None:
    odd = sparse.csr_array(np.array([[np.inf, 0.0], [1.0, 2.0]], np.float32))
    with pytest.raises(ValueError, match="rna: row 0 holds infinite values"):
        as_source({"rna": odd}).batch(torch.arange(2))
    with pytest.raises(ValueError, match="rna: the sparse matrix holds values that are not finite"):
        MultimodalDataset({"rna": odd})


def test_numbers_that_are_stored_as_nan_are_missing() -> None:
    stored = sparse.csr_array(np.array([[np.nan, 0.0], [1.0, 2.0]], np.float32))
    batch = as_source({"rna": stored}).batch(torch.tensor([1, 0]))
    assert batch.cells["rna"].tolist() == [[True, True], [False, True]]
    assert batch.data["rna"].tolist() == [[1.0, 2.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="rna: row 1 is NaN in part"):
        models.MVAE([Modality("rna", (2,), likelihoods.Normal())], latent_dim=1).infer(batch)


def test_unequal_rows_are_named() -> None:
    with pytest.raises(ValueError, match=r"unequal batch sizes: \{'rna': 20, 'other': 19\}"):
        as_source({"rna": sparse.csr_array(DENSE), "other": OTHER[1:]})
    with pytest.raises(ValueError, match=r"rna: expected rows of data, got a sparse matrix of shape \(0, 7\)"):
        as_source({"rna": sparse.csr_array((0, 7))})
