from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from mmvae import Modality, likelihoods


def make(**changes: Any) -> Modality:
    return Modality(**{"name": "a", "shape": (2, 3), "likelihood": likelihoods.Normal(), **changes})


def test_what_it_is_made_of() -> None:
    modality = make(shape=[2, 3], weight=4)
    assert modality.shape == (2, 3)
    assert modality.size == 6
    assert modality.weight == 4
    assert make(shape=()).size == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": 3}, TypeError, "string"),
        ({"name": ""}, ValueError, "expected 1 to 100 characters"),
        ({"name": "a.b"}, ValueError, "'a.b' holds '.'"),
        ({"name": "z"}, ValueError, "'z' is reserved"),
        ({"name": "data"}, ValueError, "reserved"),
        ({"name": "keys"}, ValueError, "reserved"),
        ({"shape": (2, 0)}, ValueError, "a: every size"),
        ({"shape": (2.5,)}, TypeError, "a: shape must be whole numbers"),
        ({"shape": (None, 3)}, TypeError, "a: shape must be whole numbers, without the batch"),
        ({"likelihood": likelihoods.Normal}, TypeError, r"a: likelihood is the class Normal; .*Normal\(\)"),
        ({"likelihood": "normal"}, TypeError, "a: likelihood"),
        ({"encoder": 3}, TypeError, "a: encoder"),
        ({"decoder": 3}, TypeError, "a: decoder"),
        ({"decoder": nn.Linear(2, 2)}, TypeError, "a: decoder must be a callable from the latent size"),
        ({"weight": 0}, ValueError, "a: weight"),
        ({"weight": float("inf")}, ValueError, "a: weight"),
        ({"weight": "balanced"}, TypeError, "to the model"),
    ],
)
def test_bad_parts(changes: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make(**changes)
