"""Two sides take turns, and results go into their section of a file."""

from __future__ import annotations

import pytest
from results import table, write_section
from timing import Timing, alternate, geometric_mean


def test_sides_take_turns_and_the_first_alternates():
    calls = []
    timing = alternate(lambda: calls.append("ours"), lambda: calls.append("peer"), repeats=2, warmup=1)
    assert calls == ["ours", "peer", "ours", "peer", "peer", "ours"]
    assert len(timing.ours) == len(timing.peer) == 2


def test_the_ratio_is_the_median_of_those_of_neighbours():
    assert Timing(ours=(1.0, 2.0, 1.0), peer=(2.0, 2.0, 3.0)).ratio == 2.0


def test_geometric_mean():
    assert geometric_mean([2.0, 0.5, 8.0]) == pytest.approx(2.0)


def test_a_section_replaces_that_of_its_heading_and_leaves_the_others(tmp_path):
    path = tmp_path / "speed.md"
    for heading, body in (("One", "first"), ("Two", "second"), ("One", "third")):
        write_section(path, "Speed", heading, body)
    assert path.read_text() == "# Speed\n\n## One\n\nthird\n\n## Two\n\nsecond\n"
    assert [each.name for each in tmp_path.iterdir()] == ["speed.md"]


def test_table():
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
