"""What fit says of data before it trains on it: nothing, unless something is odd."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.data import Streamed
from mmvae.training.data_look import odd_data
from mmvae.training.diverging import Divergence, advice

ROWS = 200


def plain(rows: int = ROWS) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))


def changed(column: int, values: Tensor) -> Tensor:
    data = plain(len(values))
    data[:, column] = values
    return data


def lines(data: Tensor, likelihood: Any = None, observed: Tensor | None = None, **options: Any) -> list[str]:
    modality = Modality("labs", tuple(data.shape[1:]), likelihood or likelihoods.Normal(), **options)
    model = models.MVAE([modality, Modality("other", (1,), likelihoods.Normal())], 2)
    masks = {} if observed is None else {"labs": observed}
    return odd_data(model, Batch({"labs": data, "other": torch.randn(len(data), 1)}, masks))


def test_years_do_not_look_like_counts() -> None:
    years = torch.randint(1990, 2021, (ROWS,), generator=torch.Generator().manual_seed(0)).float()
    assert lines(changed(2, years)) == []


def test_fit_says_which_likelihoods_the_columns_of_a_table_have(capsys: pytest.CaptureFixture[str]) -> None:
    columns = {**{f"age {place}": likelihoods.Normal() for place in range(7)}, "kind": likelihoods.Categorical(3)}
    table = Modality("labs", (8,), likelihoods.Columns(columns))
    model = models.MVAE([table, Modality("other", (1,), likelihoods.Normal())], 2)
    data = {"labs": torch.cat([torch.randn(20, 7), torch.arange(20.0)[:, None] % 3], 1), "other": torch.randn(20, 1)}
    mmvae.fit(model, data, epochs=1, device="cpu")
    shown = capsys.readouterr().err
    said = "labs: Normal for 'age 0', 'age 1', 'age 2', 'age 3', 'age 4', 2 more; Categorical(3) for 'kind'"
    assert shown.count(said) == 1


def test_some_columns_of_counts_may_be_zero_throughout() -> None:
    """As rare events are; a tenth of the columns is too many."""
    counts = torch.poisson(torch.full((ROWS, 20), 4.0), generator=torch.Generator().manual_seed(0))
    counts[:, :2] = 0.0
    assert lines(counts, likelihoods.NegativeBinomial()) == []
    counts[:, 2] = 0.0
    assert "3 of 20 columns (0, 1, 2) are constant" in lines(counts, likelihoods.NegativeBinomial())[0]


COUNTS = torch.poisson(torch.full((ROWS,), 40.0), generator=torch.Generator().manual_seed(0))
LEVELS = torch.arange(ROWS).remainder(4).float()

SCALES = torch.tensor([0.01, 1.0, 1000.0])
OUTLYING = plain(2000)[:, 0].index_fill(0, torch.tensor([7]), 4000.0)

ODD: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"data": plain(), "observed": torch.arange(ROWS) < 6}, "97% of the rows lack it"),
    "nearly missing": ({"data": plain(2000), "observed": torch.arange(2000) < 60}, "97% of the rows lack it"),
    "constant": ({"data": changed(1, torch.full((ROWS,), 3.0))}, "column 1 is constant"),
    "never counted": ({"data": torch.zeros(ROWS, 3), "likelihood": likelihoods.Poisson()}, "all 3 columns are const"),
    "one count": ({"data": changed(0, torch.full((ROWS,), 4.0)).abs().round(), "likelihood": likelihoods.Poisson()},
                  "column 0 is constant"),
    "all constant": ({"data": torch.ones(ROWS, 3)}, "all 3 columns are constant"),
    "counts": ({"data": changed(2, COUNTS)}, r"column 2 is of whole numbers to \d+, but Normal .*NegativeBinomial"),
    "levels": ({"data": changed(0, LEVELS)}, "column 0 is of few whole values, but Normal .*Categorical"),
    "bits": ({"data": (plain() > 0).float(), "likelihood": likelihoods.Laplace()}, "all 3 columns are .*Bernoulli"),
    "far": ({"data": changed(0, 1e6 + plain()[:, 0])}, "column 0 is so far from zero that float32 .*Subtract"),
    "scales": ({"data": plain() * SCALES, "transform": None}, "of size 0.0.* to .*e.03, and"),
    "outlier": ({"data": changed(1, OUTLYING)}, "column 1 is ruled by outliers, 45 standard"),
    "bytes": ({"data": 255 * torch.rand(ROWS, 1, 8, 8)}, "values reach 25.*Divide, for images by 255"),
    "empty images": ({"data": torch.zeros(ROWS, 1, 8, 8)}, "every value is zero"),
}  # fmt: skip


def test_columns_of_tables_are_called_by_their_names() -> None:
    """Each kind of column is looked at by itself."""
    table = likelihoods.Columns(
        {"price": likelihoods.Normal(), "kind": likelihoods.Categorical(4), "age": likelihoods.Normal()}
    )
    data = torch.stack([plain()[:, 0], LEVELS, LEVELS], 1)
    found = lines(data, table, missing="cells")
    assert len(found) == 1
    assert re.search("labs: column 'age' is of few whole values, but Normal .*Categorical", found[0])
    constant = lines(data.index_fill(1, torch.tensor([1, 2]), 1.0), table)
    assert re.search(r"labs: 2 of 3 columns \('kind', 'age'\) are constant", constant[0])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (plain() * SCALES + 500, None),
        (changed(1, torch.full((ROWS,), 3.0)), "column 1 is constant"),
        (changed(0, LEVELS), "column 0 is of few whole values"),
        (changed(2, 5 + COUNTS), r"column 2 is of whole numbers to \d+"),
        (changed(1, torch.full((ROWS,), torch.nan)), "column 1 is missing in every row"),
        (changed(0, 1e6 + plain()[:, 0]), "column 0 is so far from zero"),
    ],
)
def test_missing_numbers_are_passed_over(data: Tensor, message: str | None, seed: int) -> None:
    """Half of the cells are missing; what is said is about the others."""
    generator = torch.Generator().manual_seed(seed)
    data = torch.where(torch.rand(data.shape, generator=generator) < 0.5, data, torch.nan)
    found = lines(data, missing="cells")
    assert len(found) == (message is not None)
    assert all(re.search(str(message), line) for line in found)


@pytest.mark.parametrize(("given", "message"), ODD.values(), ids=ODD)
def test_odd_data_is_told_by_name_with_what_to_do(given: dict[str, Any], message: str) -> None:
    found = lines(**given)
    assert len(found) == 1
    assert found[0].startswith("labs: ")
    assert re.search(message, found[0])


@pytest.mark.parametrize(
    "given",
    [
        {"data": plain()},
        {"data": plain() * SCALES + 50},
        {"data": plain(), "observed": torch.arange(ROWS) < 60},
        {"data": torch.rand(ROWS, 1, 8, 8)},
        {"data": torch.rand(ROWS, 5, 3)},
        {"data": changed(2, COUNTS).abs().round(), "likelihood": likelihoods.Poisson()},
        {"data": (plain() > 0).float(), "likelihood": likelihoods.Bernoulli()},
        {"data": torch.randint(3, (ROWS, 2)), "likelihood": likelihoods.Categorical(3)},
        {"data": torch.ones(5, 3)},
    ],
)
def test_ordinary_data_and_few_rows_are_passed_over(given: dict[str, Any]) -> None:
    assert lines(**given) == []


def test_other_models_are_not_looked_at() -> None:
    assert odd_data(torch.nn.Linear(1, 1), Batch({"a": torch.ones(50, 2)})) == []


class _Items(torch.utils.data.IterableDataset):
    def __init__(self, data: Tensor) -> None:
        self.data = data

    def __iter__(self) -> Any:
        return ({"labs": row} for row in self.data)


@pytest.mark.parametrize("is_stream", [False, True])
def test_fit_warns_once_and_a_run_that_is_resumed_does_not(is_stream: bool, tmp_path: Any) -> None:
    data = torch.cat([plain(), torch.full((ROWS, 1), 7.0)], 1)
    source: Any = Streamed(_Items(data), length=ROWS) if is_stream else {"labs": data}

    def train(epochs: int) -> None:
        torch.manual_seed(0)
        model = models.MVAE([Modality("labs", (4,), likelihoods.Normal())], 2)
        mmvae.fit(model, source, epochs=epochs, out=tmp_path, resume=True, progress=False, device="cpu")

    with pytest.warns(UserWarning, match="fit has looked at the data. labs: column 3 is constant") as caught:
        train(1)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(2)


# Divergence.


def test_a_modality_whose_likelihood_falls_is_named_once() -> None:
    guard = Divergence(("rna", "labs"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch, value in enumerate((-4e8, -500.0, -100.0, -900.0, -120.0), 1):
            guard.look({"epoch": epoch, "rna": value, "labs": -3.0, "kl": 10.0**epoch})
    with pytest.warns(UserWarning, match=r"rna: training diverges.* from -100 to -5e\+04 nats per row in epoch 6.*rna"):
        guard.look({"epoch": 6, "rna": -5e4, "labs": -3.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        guard.look({"epoch": 7, "rna": -6e4, "labs": -50.0})


def test_advice_names_the_modality_at_fault() -> None:
    assert "Modality('rna'" in advice(("kl", "rna"), ("rna", "labs"))
    assert "Modality" not in advice(("kl",), ("rna",))


class _Growing(torch.nn.Module):
    """A decoder whose output grows with every step."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder, self.size = decoder, 1.0

    def forward(self, z: Tensor) -> Tensor:
        self.size *= 3.0
        return self.decoder(z) + self.size


def test_training_that_diverges_is_told() -> None:
    torch.manual_seed(0)
    model = models.MVAE([Modality("labs", (3,), likelihoods.Normal())], 2)
    model.decoders["labs"] = _Growing(model.decoders["labs"])
    with pytest.warns(UserWarning, match="labs: training diverges"):
        mmvae.fit(model, {"labs": plain()}, epochs=3, progress=False, device="cpu")
