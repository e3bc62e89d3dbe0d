from __future__ import annotations

import math

import pytest

from mmvae.evaluation import Evaluation, across_seeds, make_row, paired_differences


def evaluation(*values: float, given: str = "a+b") -> Evaluation:
    return Evaluation([make_row(f"m{place}", value, given, "c") for place, value in enumerate(values)])


def test_mean_and_spread_by_hand() -> None:
    (row,) = across_seeds([evaluation(1.0), evaluation(2.0, given="b+a"), evaluation(6.0)]).rows
    assert row["value"] == 3.0
    assert row["sd"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert row["stderr"] == pytest.approx(row["sd"] / math.sqrt(3))
    assert (row["metric"], row["given"], row["target"], row["n"]) == ("m0", "a+b", "c", 3)


def test_one_training_has_no_spread() -> None:
    (row,) = across_seeds([evaluation(1.0)]).rows
    assert "sd" not in row
    assert "stderr" not in row


def test_what_some_lack_is_left_out() -> None:
    assert [row["metric"] for row in across_seeds([evaluation(1.0, 2.0), evaluation(1.0)]).rows] == ["m0"]


def test_pairs_cancel_what_seeds_have_in_common() -> None:
    first = [evaluation(10.0, 1.0), evaluation(20.0, 1.0)]
    second = [evaluation(9.0), evaluation(19.0)]
    (row,) = paired_differences(first, second).rows
    assert (row["value"], row["sd"]) == (1.0, 0.0)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no evaluations"):
        across_seeds([])
    with pytest.raises(ValueError, match="1 evaluations cannot be paired with 2"):
        paired_differences([evaluation(1.0)], [evaluation(1.0)] * 2)
