"""Text that comes from elsewhere is shown as it is, in terminals, tables and spreadsheets."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmvae.evaluation import Evaluation, compare, make_row
from mmvae.literal import as_cell, from_cell, printable, without_markup
from mmvae.training.display import Display
from mmvae.training.journal import MetricsFile, metrics_row, read_metrics

HOSTILE = [
    "[red]no[/red]",
    "[/]",
    "[link=x]y",
    "=1+1",
    "@SUM(A1)",
    "-1+1",
    "+1",
    "\x1b[31mred",
    "a\x07b",
    "\u202eabc",
    "|x|",
]


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    shown = printable(text)
    assert all(sign == "\n" or sign.isprintable() for sign in shown)
    assert printable(shown) == shown


@given(st.text())
def test_markup_is_text(text: str) -> None:
    console = Console(file=io.StringIO(), width=10_000, force_terminal=False)
    with console.capture() as captured:
        console.print(without_markup(text), soft_wrap=True, highlight=False, emoji=False, end="")
    assert captured.get() == printable(text)


@given(st.text())
def test_cells_are_no_formulas_and_come_back(text: str) -> None:
    assert not str(as_cell(text)).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_cell(as_cell(text)) == text


def test_numbers_stay_numbers() -> None:
    assert as_cell(-1.5) == -1.5
    assert as_cell(None) is None


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_of_an_evaluation_show_what_is_in_them(text: str) -> None:
    evaluation = Evaluation([make_row(text, 1.0, text, text, note=text)], [f"{text}: left out."])
    console = Console(file=io.StringIO(), width=300)
    with console.capture() as captured:
        console.print(evaluation)
    shown = "".join(captured.get().split())
    assert shown.count("".join(printable(text).split())) >= 4
    assert "\x1b" not in shown
    cells = list(csv.reader(io.StringIO(compare({text: evaluation}).csv())))
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in cells for cell in row)
    other = compare({text: evaluation})
    with console.capture() as captured:
        console.print(other.table())
    assert "\x1b" not in captured.get()
    lines = other.markdown().splitlines()
    assert {line.replace("\\|", "").count("|") for line in lines} == {5}


def test_lines_of_the_display_hold_no_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(1, 1)
    display.say("a note: \x1b[2J[bold]")
    assert capsys.readouterr().err == "a note: \\x1b[2J[bold]\n"


@pytest.mark.parametrize("term", ["=1+1", "-x", "'=y", "[b]"])
def test_terms_of_ones_own_come_back_from_the_file_of_metrics(term: str, tmp_path) -> None:
    file = MetricsFile(tmp_path)
    file.epoch([metrics_row(1, "train", None, {"loss": 1.0, term: 2.0}, 0.5)], None)
    heading = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert all(not cell.startswith(("=", "-")) for cell in heading.split(","))
    assert read_metrics(tmp_path / "metrics.csv")[0][term] == 2.0


def test_names_of_evaluations_that_head_another_column_are_refused() -> None:
    evaluation = Evaluation([make_row("elbo", 1.0, "a", stderr=0.5)])
    with pytest.raises(ValueError, match=r"cannot be called 'a stderr'.*rename it"):
        compare({"a": evaluation, "a stderr": evaluation})
