from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mmvae import Batch
from mmvae.sources import as_source, collate, consecutive


class Items(Dataset):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def rows(*wanted: int) -> torch.Tensor:
    return torch.tensor(wanted)


def test_tensors_in_memory() -> None:
    source = as_source({"a": torch.arange(5.0), "b": torch.arange(5)}, {"b": [True] * 4 + [False]}, [9, 8, 7, 6, 5])
    assert len(source) == 5
    batch = source.batch(rows(4, 0))
    assert batch.data["a"].tolist() == [4, 0]
    assert batch.observed["b"].tolist() == [False, True]
    assert batch.labels is not None
    assert batch.labels.tolist() == [5, 9]


def test_rows_that_follow_each_other_are_no_copies_of_data_in_memory() -> None:
    batch = Batch({"a": torch.arange(5.0)})
    source = as_source(batch)
    assert consecutive(source, 0, 5) is batch
    part = consecutive(source, 1, 3)
    assert part.data["a"].tolist() == [1, 2]
    assert part.data["a"].untyped_storage().data_ptr() == batch.data["a"].untyped_storage().data_ptr()
    assert consecutive(as_source(Items([{"a": 1.0}, {"a": 2.0}, {"a": 3.0}])), 1, 3).data["a"].tolist() == [2, 3]


def test_batches_and_sources_as_they_are() -> None:
    batch = Batch({"a": torch.arange(3.0)}, labels=[1, 2, 3])
    source = as_source(batch)
    assert len(source) == 3
    assert as_source(source) is source


def test_datasets_of_dicts() -> None:
    source = as_source(Items([{"a": torch.ones(2), "b": 3}, {"a": None, "b": 4}, {"b": 5}]))
    batch = source.batch(rows(0, 1, 2))
    assert batch.observed["a"].tolist() == [True, False, False]
    assert batch.data["b"].tolist() == [3, 4, 5]
    assert source.batch(rows(1, 2)).names == ("b",)


@pytest.mark.parametrize("empty", [{}, {"a": None}])
def test_items_that_lack_every_modality_may_fill_a_batch(empty: dict[str, None]) -> None:
    batch = collate([empty, empty])
    assert len(batch) == 2
    assert batch.names == ()
    assert not batch.complete
    assert [len(part) for part in (batch[:1], batch[torch.tensor([1])], batch.to("cpu"))] == [1, 1, 2]
    labelled = collate([(empty, 3), (empty, None)])
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [3, -1]
    joined = Batch.cat([batch, collate([{"a": torch.ones(2)}]), labelled])
    assert joined.observed["a"].tolist() == [False, False, True, False, False]
    source = as_source(Items([empty, {"a": torch.ones(2)}, empty, empty]))
    assert source.batch(rows(2, 3)).size == 2
    assert source.batch(rows(0, 1)).observed["a"].tolist() == [False, True]


def test_datasets_of_pairs() -> None:
    batch = as_source(Items([({"a": torch.ones(2)}, 1), ({"a": torch.zeros(2)}, 0)])).batch(rows(1, 0))
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1]


def test_datasets_of_batches() -> None:
    items = [Batch({"a": torch.full((1, 2), float(index))}, labels=[index]) for index in range(3)]
    batch = as_source(Items(items)).batch(rows(2, 0))
    assert batch.data["a"].tolist() == [[2, 2], [0, 0]]
    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("data", "observed", "message"),
    [
        (3, None, "expected a dict of tensors, a Batch or a dataset"),
        (Items([]), {"a": [True]}, "a dataset must yield its own"),
    ],
)
def test_what_is_no_data(data: Any, observed: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        as_source(data, observed)


def test_items_of_another_kind() -> None:
    with pytest.raises(TypeError, match="Tensor"):
        collate([torch.zeros(2)])
    with pytest.raises(TypeError, match="got tuple; modalities need names"):
        as_source(TensorDataset(torch.zeros(3, 2), torch.zeros(3, 4))).batch(torch.arange(2))


def test_loaders_are_not_needed() -> None:
    with pytest.raises(TypeError, match=r"got DataLoader\. .*pass its dataset"):
        as_source(DataLoader(TensorDataset(torch.zeros(3))))  # type: ignore[arg-type]
