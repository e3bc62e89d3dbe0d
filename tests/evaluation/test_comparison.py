from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from mmvae.evaluation import Evaluation, compare, make_row

FIRST = Evaluation([make_row("elbo", -87.123456, "a+b", stderr=0.5), make_row("cosine", 0.5, "a")])
SECOND = Evaluation([make_row("elbo", -80.0, "b+a"), make_row("coherence", 0.25, "a", "b")])


def test_rows_belong_together_whatever_the_order_of_names() -> None:
    comparison = compare({"one": FIRST, "two": SECOND})
    assert comparison.rows == [
        {"metric": "elbo", "given": "a+b", "target": "", "one": -87.123456, "one stderr": 0.5, "two": -80.0},
        {"metric": "cosine", "given": "a", "target": "", "one": 0.5},
        {"metric": "coherence", "given": "a", "target": "b", "two": 0.25},
    ]


def test_forms_agree(tmp_path: Path) -> None:
    comparison = compare({"one": FIRST, "two": SECOND})
    rows = list(csv.DictReader(io.StringIO(comparison.csv())))
    assert rows[0]["one"] == "-87.123456"
    assert rows[0]["one stderr"] == "0.5"
    assert rows[1]["two"] == ""
    lines = comparison.markdown().splitlines()
    assert lines[2] == "| elbo | a+b |  | -87.12 ± 0.5 | -80 |"
    assert {line.count("|") for line in lines} == {6}
    assert comparison.table().row_count == 3
    comparison.save(tmp_path)
    assert (tmp_path / "comparison.md").read_text() == comparison.markdown()
    assert (tmp_path / "comparison.csv").read_text() == comparison.csv()


def test_names_are_checked() -> None:
    with pytest.raises(ValueError, match="no evaluations"):
        compare({})
    with pytest.raises(ValueError, match="'metric'"):
        compare({"metric": FIRST})
