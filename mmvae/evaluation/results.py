"""What an evaluation gives: rows of numbers, and notes on what is not among them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from mmvae.files import reading
from mmvae.literal import as_cell, without_markup
from mmvae.storage import read_json, write_json, write_text
from mmvae.subsets import label

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]
"""``metric``, ``given`` (a subset as a label, "observed" or ""), ``target`` (a modality or ""), ``value``, extras."""

KEYS = ("metric", "given", "target", "value")
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_WORDS = ("metric", "given", "target", "note")
"""Columns that hold no numbers: a modality may be called "nan"."""


OBSERVED = "observed"
"""In the place of a subset: whatever each data point has, in data of which some is missing."""


class Unavailable(Exception):
    """Raised by a metric that the model or the data does not allow; its message becomes a note."""


class OtherKind(Unavailable):
    """Raised by a metric that is about models of another kind; a note only where the metric was asked for by name."""


def words_of(error: Exception) -> str:
    """Return what an error says as one sentence, with the kind of error where its words are not written for users."""
    words = " ".join(str(error).split())
    if not words or not isinstance(error, ValueError | TypeError):
        words = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return words if words.endswith((".", "!", "?")) else f"{words}."


def make_row(
    metric: str, value: float, given: str | Sequence[str] = "", target: str = "", **extras: float | str | None
) -> Row:
    """A row of an evaluation.

    Args:
        metric: its name.
        value: the number.
        given: the subset that inference looked at, as names or as a label.
        target: the modality that the number is about.
        **extras: further columns: ``n`` (how many data points), ``stderr`` (standard error), ``note``, ... Those that
            are ``None`` or NaN are left out; an infinite one says something and stays.
    """
    row: Row = {
        "metric": metric,
        "given": given if isinstance(given, str) else label(given),
        "target": target,
        "value": float(value),
    }
    kept = {key: extra for key, extra in extras.items() if extra is not None}
    return row | {k: v for k, v in kept.items() if isinstance(v, str) or not math.isnan(v)}


def mean_and_error(values: Float[Tensor, "n"]) -> tuple[float, float]:
    """The mean of some values and its standard error (NaN for a single value)."""
    values = values.double()
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def share_error(share: float, n: int) -> float:
    """The standard error of a share of n rows.

    A share of 0 or 1 is not certain: its error is computed with two further rows on each side, as in the interval of
    Agresti and Coull 1998.

    Args:
        share: between 0 and 1.
        n: rows, at least 1.
    """
    if share in (0.0, 1.0):
        share, n = (n * share + 2) / (n + 4), n + 4
    return math.sqrt(share * (1 - share) / n)


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one model on one data set.

    Attributes:
        rows: dicts with ``metric``, ``given``, ``target``, ``value``, and extras such as ``stderr``, ``n``, ``note``.
        notes: what was left out, and why; a line each.
        settings: with which the numbers were computed.

    Example:
        >>> evaluation = Evaluation([make_row("elbo", -87.5, ("mnist", "text"), stderr=0.5)])
        >>> evaluation.value("elbo", "text+mnist")
        -87.5
    """

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def select(
        self, metric: str | None = None, given: str | Iterable[str] | None = None, target: str | None = None
    ) -> list[Row]:
        """The rows that fit.

        Args:
            metric: its name; any, if left out.
            given: a subset, as its label or its names in any order; "" for rows that are given nothing.
            target: a modality; "" for rows that are about none.
        """
        return [
            row
            for row in self.rows
            if (metric is None or row["metric"] == metric)
            and (given is None or members(row["given"]) == members(given))
            and (target is None or row["target"] == target)
        ]

    def value(self, metric: str, given: str | Iterable[str] | None = None, target: str | None = None) -> float:
        """The number of the one row that fits; arguments as of :meth:`select`.

        Raises:
            ValueError: if no row fits, or several do.
        """
        rows = self.select(metric, given, target)
        if len(rows) == 1:
            return rows[0]["value"]
        if not rows:
            known = ", ".join(dict.fromkeys(row["metric"] for row in self.rows)) or "none"
            raise ValueError(
                f"evaluation: no row of metric {metric!r} with given={given!r} and target={target!r}; metrics here: "
                f"{known}. Notes may say why: {' '.join(self.notes) or 'there are none.'}"
            )
        choices = "; ".join(f"given={row['given']!r}, target={row['target']!r}" for row in rows[:4])
        raise ValueError(f"evaluation: {len(rows)} rows of metric {metric!r} fit, among them {choices}; say which.")

    def table(self) -> Table:
        """The rows as a table for the terminal (``rich.print(evaluation.table())``), the notes below it."""
        from rich.table import Table

        table = Table(caption=without_markup("\n".join(self.notes)) or None, caption_justify="left")
        for heading in ("metric", "given", "target"):
            table.add_column(heading, overflow="fold")
        for heading in ("value", "stderr", "n"):  # a number that is cut is no number
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("extras", overflow="fold")
        for row in self.rows:
            extras = [f"{key} {_shown(row[key])}" for key in row if key not in (*KEYS, "stderr", "n")]
            cells = [_shown(row.get(key, "")) for key in (*KEYS, "stderr", "n")]
            table.add_row(*map(without_markup, (*cells, ", ".join(extras))))
        return table

    def __rich__(self) -> Table:
        """So that ``rich.print(evaluation)`` and a console show the table."""
        return self.table()

    def __str__(self) -> str:
        """The table in plain text, as wide as the terminal."""
        return plain_text(self.table())

    def save(self, folder: str | Path) -> None:
        """Writes ``evaluation.json``, which :meth:`load` reads, and ``evaluation.csv``, for people and plots."""
        folder = Path(folder)
        content = {"rows": [_encoded(row) for row in self.rows], "notes": self.notes, "settings": self.settings}
        write_json(folder / "evaluation.json", content)
        columns = list(dict.fromkeys([*KEYS, *(key for row in self.rows for key in row)]))
        write_text(folder / "evaluation.csv", as_csv(columns, self.rows))

    @classmethod
    def load(cls, folder: str | Path) -> Evaluation:
        """The evaluation that was saved in a folder.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if the file is damaged.
        """
        path = Path(folder) / "evaluation.json"
        content = read_json(path)
        with reading(path, advice="Expected what Evaluation.save wrote; evaluate the model again."):
            rows, notes, settings = (content[name] for name in ("rows", "notes", "settings"))
            if not (all(isinstance(note, str) for note in notes) and isinstance(settings, dict)):
                raise ValueError("its notes or settings are not what they should be")
            return cls([_checked(_decoded(row)) for row in rows], notes, settings)


def members(given: str | Iterable[str]) -> frozenset[str]:
    """The names in a subset's label, or in a collection of names; the order in which they are written is lost."""
    return frozenset(filter(None, given.split("+") if isinstance(given, str) else given))


def as_csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Rows as comma-separated values under a heading; what a row lacks is left empty, and no text is a formula."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writerow({column: as_cell(column) for column in columns})
    writer.writerows({column: as_cell(value) for column, value in row.items()} for row in rows)
    return file.getvalue()


def plain_text(table: Table) -> str:
    """A table without colours, as wide as the terminal (80 characters where there is none)."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=Console().width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _encoded(row: Row) -> Row:
    """JSON has no word for numbers that are not finite; they are written as strings."""
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _decoded(row: Row) -> Row:
    return {k: _NON_FINITE.get(v, v) if isinstance(v, str) and k not in _WORDS else v for k, v in row.items()}


def _checked(row: Row) -> Row:
    """A row, if it has what every row has."""
    numbers = [row["value"], *(row[key] for key in ("stderr", "n") if row.get(key) is not None)]
    if not all(isinstance(row[key], str) for key in KEYS if key != "value") or not all(
        isinstance(number, int | float) for number in numbers
    ):
        raise ValueError(f"the row {row} is not one of an evaluation")
    return row


def _shown(cell: Any) -> str:
    return f"{cell:.5g}" if isinstance(cell, float) else str(cell)
