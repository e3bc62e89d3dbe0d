from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mmvae import Batch, likelihoods

NAN, INF = float("nan"), float("inf")


def conform(batch: Batch) -> Batch:
    scorers = {"a": likelihoods.Normal(), "b": likelihoods.Bernoulli(), "c": likelihoods.Categorical(5)}
    return batch.conform({"a": (2,), "b": (3,), "c": ()}, scorers)


def test_complete_data() -> None:
    batch = Batch({"a": torch.ones(3, 2), "b": np.zeros((3, 4))}, labels=[7, 8, 9])
    assert (batch.size, len(batch), batch.names, batch.complete) == (3, 3, ("a", "b"), True)
    assert all(mask.all() for mask in batch.observed.values())
    assert batch.labels is not None
    assert batch.labels.tolist() == [7, 8, 9]


def test_holes_are_zero() -> None:
    a = torch.tensor([[1.0, 2.0], [NAN, NAN], [3.0, 4.0]])
    given = {"a": a, "b": torch.tensor([[5.0], [6.0], [INF]])}
    batch = Batch(given, {"b": [True, True, False]})
    assert batch.observed["a"].tolist() == [True, False, True]
    assert batch.data["a"].tolist() == [[1, 2], [0, 0], [3, 4]]
    assert batch.data["b"].tolist() == [[5], [6], [0]]
    assert not batch.complete
    assert given["a"].isnan().any()  # the caller's tensor is as it was


def test_nan_in_part_under_a_false_mask_is_nobodys_business() -> None:
    a = torch.tensor([[1.0, NAN], [1.0, 2.0]])
    assert Batch({"a": a}, {"a": [False, True]}).data["a"].tolist() == [[0, 0], [1, 2]]


def test_a_mask_does_not_bring_back_what_is_nan() -> None:
    a = torch.tensor([[NAN], [1.0]])
    everything = {"a": torch.tensor([True, True])}
    assert Batch({"a": a}, everything).observed["a"].tolist() == [False, True]
    assert Batch.of(Batch({"a": a}), everything).observed["a"].tolist() == [False, True]


def test_masks_beside_a_batch_hide_more_of_it() -> None:
    batch = Batch({"a": torch.ones(3, 1), "b": torch.ones(3, 1), "c": None}, {"a": [False, True, True]}, [1, 2, 3])
    both = Batch.of(batch, {"b": [True, True, False]})
    assert both.observed["a"].tolist() == [False, True, True]
    assert both.observed["b"].tolist() == [True, True, False]
    assert both.data["b"].flatten().tolist() == [1, 1, 0]
    assert both.drawn == ("c",)
    assert both.labels is not None
    assert not both.complete
    assert batch.observed["b"].all()
    assert Batch.of(batch) is batch


@pytest.mark.parametrize(
    ("data", "observed", "error", "message"),
    [
        ({}, None, ValueError, "no data"),
        ({"a": None}, None, ValueError, "no data"),
        ({"a": torch.zeros(0, 2)}, None, ValueError, "zero rows"),
        ([torch.zeros(2)], None, TypeError, "dict"),
        ({"a": "text"}, None, TypeError, "a: expected a tensor"),
        ({3: torch.zeros(2)}, None, TypeError, "strings"),
        ({"a": 1.0}, None, ValueError, "a: .*batch dimension"),
        ({"a": torch.zeros(2), "b": torch.zeros(3)}, None, ValueError, "unequal batch sizes.*'a': 2.*'b': 3"),
        ({"a": torch.tensor([[1.0], [-INF]])}, None, ValueError, "a: row 1 holds infinite"),
        ({"a": torch.zeros(2)}, {"a": [1, 0]}, TypeError, "'a' must be boolean"),
        ({"a": torch.zeros(2)}, {"a": [True]}, ValueError, r"'a' must have shape \(2,\)"),
        ({"a": torch.zeros(2)}, {"b": [True, False]}, ValueError, "a mask for 'b'"),
        ({"a": torch.zeros(2)}, [True], TypeError, "observed: expected a dict"),
    ],
)
def test_bad_data(data: Any, observed: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Batch(data, observed)


def test_labels_must_fit() -> None:
    with pytest.raises(ValueError, match="labels: expected 2 rows"):
        Batch({"a": torch.zeros(2)}, labels=[1])


def test_a_modality_that_is_wholly_masked_may_be_left_out() -> None:
    assert Batch({"a": torch.zeros(2)}, {"b": [False, False]}).names == ("a",)


def test_masks_of_an_unknown_name_are_told() -> None:
    """Also those that hide a whole modality, which data need not be given for; wherever the batch goes meanwhile."""
    typo = Batch({"a": torch.zeros(3, 2), "b": torch.zeros(3, 3)}, {"tabel": [False, False, False]})
    hidden = {"tabel": torch.zeros(3, dtype=torch.bool)}
    beside = Batch.of(Batch({"a": torch.zeros(3, 2)}, hidden), {"a": torch.tensor([True, False, True])})
    later = Batch.of(Batch({"a": torch.zeros(3, 2)}), hidden)
    for batch in (typo, typo[1:], typo.to("meta"), typo.restrict("a"), later):
        assert batch.absent == ("tabel",)
    for batch in (typo, typo[[0]], typo.restrict(["a", "b"]), beside[:1], later):
        with pytest.raises(ValueError, match="observed: 'tabel' is no modality of this model, which has 'a', 'b', 'c'"):
            conform(batch)
    for known in ("b", "c"):
        assert conform(Batch({"a": torch.zeros(2, 2)}, {known: [False, False]})).names == ("a",)


def test_rows() -> None:
    batch = Batch({"a": torch.arange(4.0), "b": torch.arange(4)}, {"b": [True, False, True, False]}, [0, 1, 2, 3])
    for rows in (slice(1, 3), torch.tensor([1, 2]), [1, 2], torch.tensor([False, True, True, False])):
        part = batch[rows]
        assert part.size == 2
        assert part.data["a"].tolist() == [1, 2]
        assert part.observed["b"].tolist() == [False, True]
        assert part.labels is not None
        assert part.labels.tolist() == [1, 2]
    again = Batch.cat([batch[:1], batch[1:]])
    for name in batch.names:
        assert torch.equal(again.data[name], batch.data[name])
        assert torch.equal(again.observed[name], batch.observed[name])
    assert again.labels is not None
    assert again.labels.tolist() == [0, 1, 2, 3]


def test_batches_of_different_modalities_together() -> None:
    """What one of them does not hold is missing in its rows."""
    both = Batch.cat([Batch({"a": torch.ones(2, 3)}), Batch({"b": torch.ones(1), "a": torch.ones(1, 3)})])
    assert both.observed["a"].tolist() == [True, True, True]
    assert both.observed["b"].tolist() == [False, False, True]
    assert both.data["b"].tolist() == [0, 0, 1]
    assert not both.complete
    assert Batch.cat([Batch({"a": torch.ones(2)})] * 2).complete


def test_restriction() -> None:
    batch = Batch({"a": torch.zeros(2), "b": torch.zeros(2)}, {"b": [True, False]})
    assert batch.restrict("a").names == ("a",)
    assert batch.restrict("a").complete
    assert not batch.restrict(None).complete
    assert batch.restrict(["b", "a"]).names == ("a", "b")
    with pytest.raises(ValueError, match=r"no data for 'c'; it holds 'a', 'b'"):
        batch.restrict(["a", "c"])
    with pytest.raises(ValueError, match=r"1 rows \(the first is 1\) have none of 'b' observed"):
        batch.restrict("b")
    with pytest.raises(ValueError, match="empty"):
        batch.restrict([])


def test_conforming_casts_and_orders() -> None:
    batch = conform(Batch({"c": torch.tensor([1, 2], dtype=torch.uint8), "a": torch.zeros(2, 2, dtype=torch.float64)}))
    assert batch.names == ("a", "c")
    assert batch.data["a"].dtype == torch.float32
    assert batch.data["c"].dtype == torch.int64
    bits = conform(Batch({"b": torch.tensor([[True, False, True]])}))
    assert bits.data["b"].tolist() == [[1.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"d": torch.zeros(2)}, ValueError, "'d' is no modality of this model, which has 'a', 'b', 'c'"),
        ({"a": torch.zeros(2, 2), "d": None}, ValueError, "'d' is no modality"),
        ({"a": torch.zeros(2, 3)}, ValueError, r"a: expected \(N, 2\), got \(2, 3\)"),
        ({"a": torch.zeros(2)}, ValueError, "batch dimension is missing"),
        ({"a": torch.zeros(2, 2, dtype=torch.int64)}, TypeError, "a: Normal scores real numbers"),
        ({"c": torch.zeros(2)}, TypeError, "c: Categorical scores integer codes"),
        ({"c": torch.tensor([5])}, ValueError, r"c: Categorical\(5\) .*got 5 in row 0"),
        ({"b": torch.tensor([[0.0, 0.5, 1.0]])}, ValueError, "b: Bernoulli"),
        ({"a": torch.full((2, 2), NAN)}, ValueError, "none of 'a' observed"),
    ],
)
def test_data_that_does_not_conform(data: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        conform(Batch(data))


@pytest.mark.parametrize(
    ("shape", "given", "hint"),
    [((3, 8, 9), (2, 8, 9, 3), "movedim"), ((1, 8, 8), (2, 8, 8), r"x\[:, None\]"), ((4,), (2, 5), "reshape")],
)
def test_wrong_shapes_come_with_advice(shape: tuple[int, ...], given: tuple[int, ...], hint: str) -> None:
    likelihood = likelihoods.Normal()
    with pytest.raises(ValueError, match=hint):
        Batch({"a": torch.zeros(given)}).conform({"a": shape}, {"a": likelihood})


def test_moving_keeps_everything() -> None:
    batch = Batch({"a": torch.zeros(2), "b": None}, labels=[0, 1])
    assert batch.to("cpu") is batch
    moved = batch.to("meta")
    assert moved.device.type == "meta"
    assert moved.drawn == ("b",)
    assert moved.labels is not None


def test_masks_of_steps() -> None:
    """Steps that are not there hold zeros, whatever stood in them; a row without any is missing."""
    data = torch.arange(12.0).reshape(3, 2, 2)
    data[0, 1], data[1] = NAN, INF
    steps = torch.tensor([[True, False], [False, False], [True, True]])
    batch = Batch({"a": data, "b": torch.zeros(3)}, {"a": steps}, labels=[0, 1, 2])
    assert batch.data["a"].tolist() == [[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0]] * 2, [[8.0, 9.0], [10.0, 11.0]]]
    assert batch.observed["a"].tolist() == [True, False, True]
    assert not batch.complete
    assert torch.equal(batch.steps["a"], steps)
    assert set(batch.steps) == {"a"}
    for same in (batch[[2, 0]], batch.to("meta"), batch.restrict(["b", "a"])):
        assert set(same.steps) == {"a"}
    assert torch.equal(batch[[2, 0]].steps["a"], steps[[2, 0]])
    assert batch.restrict("b").steps == {}
    assert torch.equal(Batch(batch.data, batch.masks).steps["a"], steps)


def test_masks_of_steps_meet_masks_of_rows() -> None:
    steps = torch.tensor([[True, False], [True, True]])
    batch = Batch({"a": torch.ones(2, 2), "b": torch.ones(2)}, {"a": steps})
    both = Batch.of(batch, {"a": [True, False]})
    assert both.observed["a"].tolist() == [True, False]
    assert both.steps["a"].tolist() == [[True, False], [False, False]]
    twice = Batch.of(batch, {"a": torch.tensor([[True, True], [False, True]])})
    assert twice.steps["a"].tolist() == [[True, False], [False, True]]
    joined = Batch.cat([batch, Batch({"a": torch.ones(1, 2)}), Batch({"b": torch.ones(1)})])
    assert joined.steps["a"].tolist() == [*steps.tolist(), [True, True], [False, False]]
    with pytest.raises(ValueError, match=r"must have shape \(2,\), or \(2, 2\) for its steps, got \(2, 3\)"):
        Batch({"a": torch.ones(2, 2)}, {"a": torch.ones(2, 3, dtype=torch.bool)})


def test_single_numbers_that_are_nan_are_missing() -> None:
    a = torch.tensor([[1.0, NAN], [NAN, NAN], [3.0, 4.0]])
    batch = Batch({"a": a, "b": torch.zeros(3, 1)})
    assert batch.cells["a"].tolist() == [[True, False], [False, False], [True, True]]
    assert batch.observed["a"].tolist() == [True, False, True]
    assert batch.data["a"].tolist() == [[1, 0], [0, 0], [3, 4]]
    assert set(batch.cells) == {"a"}
    assert a.isnan().sum() == 3  # the caller's tensor is as it was
    again = Batch(batch.data, batch.masks)
    assert torch.equal(again.cells["a"], batch.cells["a"])
    for rows in ([2, 0], torch.tensor([2, 0])):
        assert batch[rows].cells["a"].tolist() == [[True, True], [True, False]]


def test_masks_are_as_coarse_as_they_can_be() -> None:
    """Rows that are NaN throughout are missing as rows, steps as steps."""
    a = torch.ones(3, 4, 2)
    a[0], a[1, 2:] = NAN, NAN
    batch = Batch({"a": a})
    assert batch.cells["a"].tolist() == [[False] * 4, [True, True, False, False], [True] * 4]
    assert batch.steps.keys() == {"a"}
    a[1, 2:] = 1.0
    assert Batch({"a": a}).cells == {}
    a[1, 2, 1] = NAN
    assert Batch({"a": a}).cells["a"].shape == (3, 4, 2)
    assert Batch({"a": a}).steps == {}


def test_masks_of_numbers_meet_those_of_steps_and_rows() -> None:
    a = torch.ones(3, 2, 2)
    a[0, 0, 1] = NAN
    batch = Batch({"a": a, "b": torch.ones(3)}, {"a": torch.tensor([[True, True], [True, False], [True, True]])})
    assert batch.cells["a"].tolist() == [[[True, False], [True, True]], [[True] * 2, [False] * 2], [[True] * 2] * 2]
    both = Batch.of(batch, {"a": [True, True, False]})
    assert both.observed["a"].tolist() == [True, True, False]
    assert not both.cells["a"][2].any()
    assert not both.data["a"][2].any()
    joined = Batch.cat([batch, Batch({"a": torch.ones(1, 2, 2)}), Batch({"b": torch.ones(1)})])
    assert joined.cells["a"].shape == (5, 2, 2)
    assert joined.cells["a"][3].all()
    assert not joined.cells["a"][4].any()
    with pytest.raises(ValueError, match=r"or \(3, 2\) for its steps, or \(3, 2, 2\) for single numbers, got \(3, 3\)"):
        Batch({"a": a}, {"a": torch.ones(3, 3, dtype=torch.bool)})


@pytest.mark.parametrize("hole", [0.5, None])
def test_missing_numbers_hold_what_the_form_can_score(hole: float | None) -> None:
    class Form:
        def __init__(self) -> None:
            self.hole = hole

        def conform(self, name: str, data: torch.Tensor) -> torch.Tensor:
            return data

    a = torch.tensor([[NAN, 2.0, NAN], [1.0, NAN, NAN]])
    filled = Batch({"a": a}).conform({"a": (3,)}, {"a": Form()}).data["a"]
    assert filled.tolist() == ([[0.5, 2, 0.5], [1, 0.5, 0.5]] if hole else [[1, 2, 2], [1, 2, 2]])


def test_what_is_absent_is_remembered_when_batches_are_joined() -> None:
    batch = Batch({"a": torch.ones(2)}, {"b": [False, False]})
    assert Batch.cat([batch, batch]).absent == ("b",)
