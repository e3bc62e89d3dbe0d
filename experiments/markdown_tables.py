"""Tables in Markdown, of means and standard deviations over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence


def mean_and_spread(values: Sequence[float], digits: int = 3, sign: str = "") -> str:
    """Mean and standard deviation of some values; of one alone, the value; of none, nothing."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.{digits}f}{spread}"


def markdown(title: str, first: str, columns: Sequence[str], lines: Mapping[str, Sequence[str]]) -> str:
    """A table with a heading, a line for each entry.

    Args:
        title: above the table.
        first: heading of the first column, in which the names of the lines stand.
        columns: the other headings.
        lines: by name, the cells; a line whose cells are all empty is left out.
    """
    filled = {name: cells for name, cells in lines.items() if any(cells)}
    if not filled:
        return ""
    rows = [[first, *columns], ["---", *["---:"] * len(columns)], *([name, *cells] for name, cells in filled.items())]
    return f"\n### {title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
