"""Every form in which labels come is the same labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmvae import Batch
from mmvae.labels import as_labels, class_numbers, joined_classes, renumbered
from mmvae.sources import as_source, collate

Known = Sequence[int | None]
CLASSES = st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=8).filter(
    lambda each: any(c is not None for c in each)
)

FORMS: dict[str, Callable[[Known], Any]] = {
    "a list with None": list,
    "a tuple with None": tuple,
    "a list with NaN": lambda known: [float("nan") if each is None else each for each in known],
    "a list of whole floats": lambda known: [float("nan") if each is None else float(each) for each in known],
    "-1 for unknown": lambda known: [-1 if each is None else each for each in known],
    "another negative number": lambda known: np.array([-7 if each is None else each for each in known], np.int8),
    "an array of floats": lambda known: np.array([np.nan if each is None else each for each in known]),
    "a tensor of floats": lambda known: torch.tensor([np.nan if each is None else each for each in known]),
    "a tensor of half precision": lambda known: torch.tensor(
        [np.nan if each is None else each for each in known]
    ).half(),
    "an array of objects": lambda known: np.array(known, object),
    "a masked array": lambda known: np.ma.masked_array(
        [0 if each is None else each for each in known], [each is None for each in known], np.uint16
    ),
    "a list of tensors": lambda known: [None if each is None else torch.tensor(each) for each in known],
    "a column": lambda known: torch.tensor([[-1 if each is None else each] for each in known]),
    "big-endian": lambda known: np.array([-1 if each is None else each for each in known], ">i4"),
    "numpy scalars": lambda known: [None if each is None else np.int16(each) for each in known],
}


def names(known: Known) -> list[str | None]:
    return [None if each is None else f"class {each}" for each in known]


NAMED: dict[str, Callable[[Known], Any]] = {
    "a list": names,
    "objects": lambda known: np.array(names(known), object),
    "bytes": lambda known: [None if each is None else each.encode() for each in names(known)],
    "a list with NaN": lambda known: [float("nan") if each is None else each for each in names(known)],
    "a masked array": lambda known: np.ma.masked_array(
        [each or "" for each in names(known)], [each is None for each in known]
    ),
}


@given(CLASSES, st.sampled_from(sorted(FORMS)))
def test_numbers_in_every_form(known: Known, form: str) -> None:
    batch = Batch({"x": torch.zeros(len(known), 1)}, labels=FORMS[form](known))
    expected = [-1 if each is None else each for each in known]
    found = class_numbers(batch.labels)
    assert batch.classes is None
    assert found is not None
    assert found.tolist() == expected
    assert found.dtype == torch.int64


@given(CLASSES, st.sampled_from(sorted(NAMED)))
def test_names_in_every_form(known: Known, form: str) -> None:
    batch = Batch({"x": torch.zeros(len(known), 1)}, labels=NAMED[form](known))
    assert batch.classes is not None
    assert batch.labels is not None
    assert list(batch.classes) == sorted(set(filter(None, names(known))))
    assert [None if each < 0 else batch.classes[each] for each in batch.labels.tolist()] == names(known)
    for part in (batch[:1], batch.restrict("x"), batch[torch.arange(len(known))]):
        assert part.classes == batch.classes


@given(CLASSES, CLASSES)
def test_batches_of_named_classes_are_numbered_alike_when_joined(first: Known, second: Known) -> None:
    parts = [Batch({"x": torch.zeros(len(each), 1)}, labels=names(each)) for each in (first, second)]
    both = Batch.cat(parts)
    assert both.classes is not None
    assert both.labels is not None
    expected = names([*first, *second])
    assert [None if each < 0 else both.classes[each] for each in both.labels.tolist()] == expected
    assert both.classes == joined_classes([part.classes for part in parts])


def test_renumbering_forgets_what_the_target_lacks() -> None:
    assert renumbered(torch.tensor([0, 1, -1]), ("cat", "dog"), ("bird", "dog")).tolist() == [-1, 1, -1]
    batch = Batch({"x": torch.zeros(2, 1)}, labels=["dog", "cat"])
    assert batch.in_classes(("bird", "cat")).labels.tolist() == [-1, 1]  # type: ignore[union-attr]
    assert batch.in_classes(None) is batch


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (torch.tensor([True, False]), [1, 0]),
        (np.array([3, 255], np.uint8), [3, 255]),
        (torch.tensor([0.5, 1.0]), None),  # with a fraction they are targets
        (torch.tensor([[0, 1], [1, 0]]), None),  # several labels a row
        (torch.tensor([-1, -1]), None),
        (torch.tensor([torch.nan, torch.nan]), None),
        (torch.tensor([1e30, 0.0]), None),
        (torch.tensor([torch.inf, 0.0]), None),
        (torch.tensor([1j, 0]), None),
        ([None, None], None),
    ],
)
def test_what_is_a_class(labels: Any, expected: list[int] | None) -> None:
    numbers = class_numbers(as_labels(labels)[0])
    assert (None if numbers is None else numbers.tolist()) == expected


def test_labels_that_are_no_classes_stay_as_they_are() -> None:
    assert as_labels([0.5, None])[0].isnan().tolist() == [False, True]
    several, _ = as_labels([[0, 1], None, [1, 1]])
    assert several[0].tolist() == [0, 1]
    assert several[1].isnan().all()
    assert as_labels(torch.tensor([[0.5, 1.5]]))[0].tolist() == [[0.5, 1.5]]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (["cat", 3], TypeError, "labels: some are names and others are not"),
        (np.array(["2020"], "M8[Y]"), TypeError, "labels: holds dates"),
        ({"a": 1}, TypeError, "labels: expected a tensor"),
        ([[1, 2], [3]], ValueError, "labels: the 2 rows have different shapes"),
        (5, ValueError, "labels: expected 2 rows as in the data, got 0"),
        ("cat", TypeError, "labels: expected a tensor"),
    ],
)
def test_what_is_no_label_is_refused(labels: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Batch({"x": torch.zeros(2, 1)}, labels=labels)


def test_names_and_numbers_do_not_mix() -> None:
    x = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="labels: some are names of classes and others numbers"):
        Batch.cat([Batch({"x": x}, labels=["cat"]), Batch({"x": x}, labels=[1])])


def test_batches_without_labels_beside_batches_with_some() -> None:
    x = torch.zeros(2, 1)
    both = Batch.cat([Batch({"x": x}), Batch({"x": x}, labels=[1, 2])])
    assert both.labels is not None
    assert both.labels.tolist() == [-1, -1, 1, 2]
    real = Batch.cat([Batch({"x": x}, labels=[0.5, 1.5]), Batch({"x": x})])
    assert real.labels is not None
    assert real.labels.isnan().tolist() == [False, False, True, True]


def test_labels_of_items() -> None:
    x = torch.zeros(1)
    labels = collate([({"x": x}, 1), ({"x": x}, None), ({"x": x}, np.int8(2))]).labels
    assert labels is not None
    assert labels.tolist() == [1, -1, 2]
    named = collate([({"x": x}, "dog"), ({"x": x}, None), ({"x": x}, "cat")])
    assert named.labels is not None
    assert (named.labels.tolist(), named.classes) == ([1, -1, 0], ("cat", "dog"))
    assert collate([({"x": x}, None)]).labels is None


def test_labels_beside_data_in_memory() -> None:
    source = as_source({"x": torch.zeros(2, 1)}, labels=["b", "a"])
    assert source.batch(torch.tensor([1])).classes == ("a", "b")


class TestPandas:
    def test_positions_count_and_not_the_index(self) -> None:
        pandas = pytest.importorskip("pandas")
        assert as_labels(pandas.Series(range(20))[10:])[0].tolist() == list(range(10, 20))

    @pytest.mark.parametrize("kind", ["Int64", "UInt8", "object", "category", "float64", "Float32"])
    def test_numbers(self, kind: str) -> None:
        pandas = pytest.importorskip("pandas")
        column = pandas.Series([2, None, 0]).astype("Int64" if kind == "UInt8" else kind)
        numbers = class_numbers(as_labels(column)[0])
        assert numbers is not None
        assert numbers.tolist() == [2, -1, 0]

    def test_categories_number_the_classes(self) -> None:
        pandas = pytest.importorskip("pandas")
        for column in (
            pandas.Categorical(["dog", None, "cat"], ["dog", "cat", "bird"]),
            pandas.Series(["dog", None, "cat"], dtype=pandas.CategoricalDtype(["dog", "cat", "bird"])),
        ):
            labels, classes = as_labels(column)
            assert labels.tolist() == [0, -1, 1]
            assert classes == ("dog", "cat", "bird")

    @pytest.mark.parametrize("kind", ["object", "string"])
    def test_names(self, kind: str) -> None:
        pandas = pytest.importorskip("pandas")
        labels, classes = as_labels(pandas.Series(["dog", None, "cat"], dtype=kind))
        assert (labels.tolist(), classes) == ([1, -1, 0], ("cat", "dog"))
