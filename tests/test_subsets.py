from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvae.subsets import canonical, from_mask, label, powerset, to_mask

NAMES = ("mnist", "svhn", "text")


@pytest.mark.parametrize(
    ("subset", "members"),
    [
        (None, NAMES),
        ("svhn", ("svhn",)),
        (["text", "mnist"], ("mnist", "text")),
        ({"text"}, ("text",)),
        (("text", "text"), ("text",)),
        (iter(["svhn", "mnist"]), ("mnist", "svhn")),
    ],
)
def test_canonical_order(subset, members) -> None:  # type: ignore[no-untyped-def]
    assert canonical(subset, NAMES) == members


@pytest.mark.parametrize(
    ("subset", "error", "message"),
    [
        ("voice", ValueError, "unknown modality 'voice'; choose among 'mnist'"),
        (["mnist", "voice"], ValueError, "'voice'"),
        ([], ValueError, "empty"),
        (3, TypeError, "int"),
        ([3], TypeError, "3"),
    ],
)
def test_bad_subsets(subset, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        canonical(subset, NAMES)


def test_powerset_goes_from_small_to_large() -> None:
    subsets = powerset(NAMES)
    assert len(subsets) == 7
    assert subsets[:3] == [("mnist",), ("svhn",), ("text",)]
    assert subsets[-1] == NAMES
    assert len(powerset([str(index) for index in range(12)])) == 2**12 - 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sets(st.sampled_from(NAMES), min_size=1), max_size=6))
def test_masks_and_back(subsets: list[set[str]]) -> None:
    mask = to_mask(subsets, NAMES)
    assert mask.shape == (len(subsets), 3)
    assert mask.dtype == torch.bool
    assert [set(each) for each in from_mask(mask, NAMES)] == subsets


def test_labels() -> None:
    assert label(("mnist", "text")) == "mnist+text"
