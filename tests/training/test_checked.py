"""A source that is checked once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmvae import models
from mmvae.data import MultimodalDataset
from mmvae.sources import Placeable
from mmvae.training import fit
from mmvae.training.checked import CheckedOnce, sound


def dataset(data: dict[str, torch.Tensor], **arguments: Any) -> MultimodalDataset:
    return MultimodalDataset(dict(reversed(data.items())), **arguments)


@pytest.mark.parametrize("is_complete", [True, False])
def test_batches_conform_as_prepared_ones_do(model: Any, data: Any, is_complete: bool) -> None:
    observed = None if is_complete else {"text": torch.arange(40) % 3 > 0}
    source = dataset(data, observed=observed, labels=torch.arange(40))
    rows = torch.tensor([3, 1, 2])
    batch, expected = CheckedOnce(source, model).batch(rows), model.prepare(source.batch(rows))
    assert model.prepare(batch) is batch
    assert batch.names == expected.names == ("image", "text")
    assert batch.complete == expected.complete == is_complete
    for name in batch.names:
        assert batch.data[name].dtype == expected.data[name].dtype
        assert torch.equal(batch.data[name], expected.data[name])
        assert torch.equal(batch.observed[name], expected.observed[name])
    assert torch.equal(batch.labels, rows)


def test_all_rows_are_looked_at(model: Any, data: Any) -> None:
    data["text"][-1] = 7
    with pytest.raises(ValueError, match="text"):
        CheckedOnce(dataset(data), model)


class LooksAtLabels:
    """A model of whose labels none may be above 30."""

    def __init__(self, model: Any) -> None:
        self.prepare, self.forms = model.prepare, model.forms

    def check_labels(self, labels: torch.Tensor | None) -> None:
        if labels is None or int(labels.max()) > 30:
            raise ValueError("labels: too high.")


def test_labels_are_looked_at_once_for_all_rows(model: Any, data: Any) -> None:
    source = dataset(data, labels=torch.arange(40))
    with pytest.raises(ValueError, match="labels: too high"):
        CheckedOnce(source, LooksAtLabels(model))
    with pytest.raises(ValueError, match="labels: too high"):
        sound(source.everything(), LooksAtLabels(model))
    assert sound(source.batch(range(31)), LooksAtLabels(model)).size == 31


def test_a_dataset_says_what_it_takes(data: Any) -> None:
    assert isinstance(dataset(data), Placeable)
    assert dataset(data).bytes_in_memory == 40 * 6 * 4 + 40 * 5 * 8
    assert dataset(data, labels=torch.arange(40)).bytes_in_memory == 40 * 6 * 4 + 40 * 5 * 8 + 40 * 8
    images = MultimodalDataset({"image": torch.zeros(10, 4, dtype=torch.uint8)})
    assert images.bytes_in_memory == 40  # bytes stay bytes


def test_a_dataset_that_draws_stays_where_it_is(data: Any) -> None:
    class Draws:
        name = "draws"

        def draw(self, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return torch.rand(len(labels), 2, generator=generator)

    drawn = MultimodalDataset({"image": Draws()}, labels=torch.zeros(5, dtype=torch.int64))
    assert drawn.bytes_in_memory is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_dataset_that_was_moved_is_training_on_its_tensors(new_model: Any, data: Any) -> None:
    runs = [
        fit(new_model(models.MVAE), each, epochs=2, device="cuda", progress=False) for each in (data, dataset(data))
    ]
    for one, other in zip(runs[0].metrics, runs[1].metrics, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
