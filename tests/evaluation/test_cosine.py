from __future__ import annotations

import math

import pytest
import torch

from mmvae import Batch
from mmvae.evaluation import evaluate


def test_cosine_is_that_of_a_loop(exact_model, linear_data) -> None:
    model, data = exact_model(("a", "b", "c")), linear_data(25, ("a", "b", "c"))
    found = evaluate(model, data, ["cosine"], progress=False)
    joint = model.infer(data).mean.tolist()
    for subset in (("a",), ("b", "c")):
        partial = model.infer(data, subset).mean.tolist()
        cosines = [
            sum(x * y for x, y in zip(p, q, strict=True)) / math.hypot(*p) / math.hypot(*q)
            for p, q in zip(partial, joint, strict=True)
        ]
        assert found.value("cosine", subset) == pytest.approx(sum(cosines) / 25, abs=1e-5)
    assert len(found.select("cosine")) == 6  # all but the joint one


def test_shuffled_pairs_are_of_different_data_points(known) -> None:
    data = torch.eye(6)  # a mean agrees with itself, and is at a right angle to every other
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(6))
    found = evaluate(model, Batch({"a": data, "b": data}), ["cosine"], progress=False)
    assert found.value("cosine", "a") == pytest.approx(1)
    assert found.value("cosine_shuffled", "a") == pytest.approx(0)


def test_rows_are_those_that_have_everything(known) -> None:
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(6))
    there = torch.tensor([True, True, False, True, True, False])
    data = Batch({"a": torch.eye(6), "b": torch.eye(6).roll(1, 0)}, {"b": there})
    found = evaluate(model, data, ["cosine"], progress=False)
    (row,) = found.select("cosine", "a")
    assert row["n"] == 4
    assert row["value"] == pytest.approx(2**-0.5, abs=1e-6)  # between e_i and (e_i + e_j) / 2


def test_one_modality_or_one_row_is_noted(known) -> None:
    alone = evaluate(known({"a": lambda z: z}, torch.eye(2)), {"a": torch.eye(2)}, ["cosine"], progress=False)
    assert not alone.rows
    assert "single modality" in alone.notes[0]
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(2))
    single = evaluate(model, {"a": torch.eye(2)[:1], "b": torch.eye(2)[:1]}, ["cosine"], progress=False)
    assert not single.rows
    assert "fewer than two" in single.notes[0]
