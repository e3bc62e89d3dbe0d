from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import rich.console

from mmvae.evaluation import Evaluation, make_row
from mmvae.evaluation.results import share_error

EVALUATION = Evaluation(
    [
        make_row("elbo", -87.25, ("mnist", "text"), stderr=0.5, n=100),
        make_row("coherence", 0.75, ("mnist",), "text", n=100, note="1, 2"),
        make_row("coherence", 0.5, ("mnist",), "svhn", n=100),
        make_row("joint_coherence", 1.0),
        make_row("log_likelihood", -math.inf, "mnist", stderr=math.nan),
    ],
    ["cosine: left out, since it is a test."],
    {"model": "MVAE", "seed": 3},
)


def test_rows_are_selected_by_metric_subset_and_target() -> None:
    assert len(EVALUATION.select("coherence")) == 2
    assert len(EVALUATION.select(given="mnist")) == 3
    assert EVALUATION.select(given="") == EVALUATION.select("joint_coherence")
    assert [row["value"] for row in EVALUATION.select("coherence", "mnist", "svhn")] == [0.5]


@pytest.mark.parametrize("given", ["mnist+text", "text+mnist", ("text", "mnist"), {"mnist", "text"}])
def test_order_of_names_does_not_matter(given: str | tuple[str, ...] | set[str]) -> None:
    assert EVALUATION.value("elbo", given) == -87.25


def test_value_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"no row of metric 'cosine'.*left out"):
        EVALUATION.value("cosine", "mnist")
    with pytest.raises(ValueError, match=r"2 rows of metric 'coherence'.*target='text'"):
        EVALUATION.value("coherence", "mnist")


def test_extras_that_say_nothing_are_left_out() -> None:
    assert make_row("elbo", 1, stderr=math.nan, note=None) == {
        "metric": "elbo",
        "given": "",
        "target": "",
        "value": 1.0,
    }


def test_save_and_load_give_the_same(tmp_path: Path) -> None:
    EVALUATION.save(tmp_path / "run")
    assert Evaluation.load(tmp_path / "run") == EVALUATION
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["evaluation.csv", "evaluation.json"]

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads((tmp_path / "run" / "evaluation.json").read_text(), parse_constant=refuse)
    rows = list(csv.DictReader((tmp_path / "run" / "evaluation.csv").read_text().splitlines()))
    assert [float(row["value"]) for row in rows] == [row["value"] for row in EVALUATION.rows]
    assert rows[1]["note"] == "1, 2"
    assert rows[0]["note"] == ""


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Evaluation.load(tmp_path)
    for content in ("{", '{"rows": 3}', "[]"):
        (tmp_path / "evaluation.json").write_text(content)
        with pytest.raises(ValueError, match=r"evaluation\.json"):
            Evaluation.load(tmp_path)


def test_table_shows_rows_extras_and_notes() -> None:
    console = rich.console.Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(EVALUATION.table())
    text = console.export_text()
    for piece in ("mnist+text", "-87.25", "0.5", "note 1, 2", "-inf", "it is a test"):
        assert piece in text


def test_numbers_are_never_cut_and_printing_shows_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = make_row("conditional_log_likelihood", -1234.5678, "picture+sentence", "sentence", stderr=123.45, n=10_000)
    shown = str(Evaluation([*EVALUATION.rows, {**long, "num_samples": 1000, "ess": 12.5}], EVALUATION.notes))
    for number in ("-1234.6", "123.45", "10000", "-87.25", "0.75"):
        assert number in shown
    assert "left out" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_error_of_a_share_is_binomial_and_never_zero() -> None:
    assert share_error(0.25, 40) == pytest.approx((0.25 * 0.75 / 40) ** 0.5)
    for share in (0.0, 1.0):
        assert share_error(share, 5) == pytest.approx((7 / 9 * 2 / 9 / 9) ** 0.5)
    assert share_error(1.0, 10_000) < 2e-4


def test_infinite_extras_are_kept_and_reloaded(tmp_path) -> None:
    row = make_row("log_likelihood", math.inf, "a", "nan", pareto_k=math.inf, ess=math.nan, note="inf")
    assert row["pareto_k"] == math.inf
    assert "ess" not in row
    Evaluation([row]).save(tmp_path)
    assert Evaluation.load(tmp_path).rows == [row]
