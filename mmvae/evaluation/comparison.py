"""Several evaluations side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmvae.evaluation.results import Evaluation, Row, as_csv, members
from mmvae.literal import printable, without_markup
from mmvae.storage import write_text

if TYPE_CHECKING:
    from rich.table import Table

_KEYS = ("metric", "given", "target")


@dataclass(frozen=True)
class Comparison:
    """The numbers of several evaluations, a column each.

    Attributes:
        names: of the evaluations.
        rows: dicts with ``metric``, ``given``, ``target``; by an evaluation's name its value; and by
            ``"<name> stderr"`` the standard error of it, where there is one.
    """

    names: tuple[str, ...]
    rows: list[Row]

    def table(self) -> Table:
        """A table for the terminal, narrow enough for five models in 80 columns where there are no standard errors."""
        from rich import box
        from rich.table import Table

        table = Table("metric", "given \N{RIGHTWARDS ARROW} target", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in self.names:
            table.add_column(without_markup(name), justify="right", no_wrap=True)
        for metric, given, target, *values in self._cells():
            path = f"{given} \N{RIGHTWARDS ARROW} {target}" if target else given
            table.add_row(*map(without_markup, (metric, path, *values)))
        return table

    def markdown(self) -> str:
        """A Markdown table."""
        lines = [[*_KEYS, *self.names], ["---"] * 3 + ["---:"] * len(self.names), *self._cells()]
        return "".join(f"| {' | '.join(map(_markdown, line))} |\n" for line in lines)

    def csv(self) -> str:
        """Comma-separated values, unrounded, with a column of standard errors for each evaluation that has some."""
        errors = [f"{name} stderr" for name in self.names if any(f"{name} stderr" in row for row in self.rows)]
        return as_csv([*_KEYS, *self.names, *errors], self.rows)

    def save(self, folder: str | Path) -> None:
        """Writes ``comparison.csv`` and ``comparison.md``."""
        write_text(Path(folder) / "comparison.csv", self.csv())
        write_text(Path(folder) / "comparison.md", self.markdown())

    def _cells(self) -> Iterable[list[str]]:
        for row in self.rows:
            yield [row[key] for key in _KEYS] + [_cell(row, name) for name in self.names]


def compare(evaluations: Mapping[str, Evaluation]) -> Comparison:
    """Evaluations side by side: a row for each metric, subset and target, a column for each evaluation.

    Rows of different evaluations belong together whatever the order in which their subsets are written.

    Args:
        evaluations: by the name that heads the column.

    Raises:
        ValueError: for no evaluations, or a name that is also a heading of the rows.

    Example:
        >>> from mmvae.evaluation.results import make_row
        >>> print(compare({"MVAE": Evaluation([make_row("elbo", -3.5, "a+b", stderr=0.5)])}).markdown())
        | metric | given | target | MVAE |
        | --- | --- | --- | ---: |
        | elbo | a+b |  | -3.5 ± 0.5 |
        <BLANKLINE>
    """
    if not evaluations:
        raise ValueError("compare: no evaluations; pass a dict from names to evaluations.")
    headings = {*_KEYS, *(f"{name} stderr" for name in evaluations)}
    taken = [name for name in evaluations if name in headings]
    if taken:
        raise ValueError(
            f"compare: an evaluation cannot be called {taken[0]!r}, which heads another column; rename it."
        )
    merged: dict[tuple[str, frozenset[str], str], Row] = {}
    for name, evaluation in evaluations.items():
        for row in evaluation.rows:
            key = (row["metric"], members(row["given"]), row["target"])
            line = merged.setdefault(key, {part: row[part] for part in _KEYS})
            line[name] = row["value"]
            if "stderr" in row:
                line[f"{name} stderr"] = row["stderr"]
    return Comparison(tuple(evaluations), list(merged.values()))


def _markdown(cell: str) -> str:
    """A cell of a Markdown table: one line, and neither a border nor HTML."""
    return printable(" ".join(cell.split())).replace("|", "\\|").replace("<", "&lt;")


def _cell(row: Row, name: str) -> str:
    if name not in row:
        return ""
    error = f" ± {row[f'{name} stderr']:.2g}" if f"{name} stderr" in row else ""
    return f"{row[name]:.4g}{error}"
