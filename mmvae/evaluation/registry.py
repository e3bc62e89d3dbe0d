"""Metrics: functions that carry their own words, and the table of them by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from mmvae.abilities import lack
from mmvae.choices import check_choice
from mmvae.evaluation.context import Context
from mmvae.evaluation.results import OtherKind, Row
from mmvae.words import Words

About = Literal["prediction", "likelihood", "latent", "pairs of modalities", "codes", "generation", "inference"]
"""What metrics are about, in the order in which they are computed and reported."""

Measure = Callable[[Context], Iterable[Row]]
"""Gives the rows of one metric (see :func:`mmvae.evaluation.make_row`); raises :class:`Unavailable` where it cannot."""


@dataclass(eq=False)
class Metric:
    """A metric with its words; calling it with a :class:`Context` gives its rows.

    Attributes:
        name: Name by which users ask for it.
        measure: Function that gives the rows.
        about: What it is about.
        rows: Words of its rows, by the ``metric`` that these have.
        needs: Abilities that a model must have; models without them are of another kind.
        kinds: The models that it is for, in words.
        costly: Why it is computed only where it is asked for, as a clause; empty for one that is always computed.
        beside: Names of metrics that are computed whenever this one is.
    """

    name: str
    measure: Measure
    about: About
    rows: tuple[Words, ...]
    needs: tuple[type, ...]
    kinds: str
    costly: str
    beside: tuple[str, ...]

    def __call__(self, context: Context) -> Iterable[Row]:
        """The rows of the metric.

        Raises:
            OtherKind: If the model lacks an ability.
            Unavailable: If the data does not allow it.
        """
        for ability in self.needs:
            if not isinstance(context.model, ability):
                raise OtherKind(f"{type(context.model).__name__} {lack(ability)}")
        return self.measure(context)


METRICS: dict[str, Metric] = {}
"""The metrics of the library, by name."""


def metric(
    *rows: Words,
    about: About,
    needs: tuple[type, ...] = (),
    kinds: str = "all",
    costly: str = "",
    beside: tuple[str, ...] = (),
) -> Callable[[Measure], Metric]:
    """Make a metric of the decorated function, and known to ``evaluate`` by the function's name.

    Args:
        rows: Words of its rows, which reports show.
        about: What it is about.
        needs: Abilities (:mod:`mmvae.abilities`) that a model must have.
        kinds: The models that it is for, in words.
        costly: Why it is computed only where it is asked for, as a clause: "compares all data with all".
        beside: Names of metrics that are computed whenever this one is.

    Raises:
        ValueError: For an unknown subject.
    """
    check_choice("about", about, get_args(About))

    def register(measure: Measure) -> Metric:
        made = Metric(measure.__name__, measure, about, rows, needs, kinds, costly, beside)
        functools.update_wrapper(made, measure)  # its name and docstring
        known = {**METRICS, made.name: made}
        order = get_args(About)
        METRICS.clear()  # in place: others hold this table
        METRICS.update(sorted(known.items(), key=lambda item: order.index(item[1].about)))
        return made

    return register


def metric_words(row: str) -> Words:
    """The words of rows of this ``metric``; one that no metric declares is called by its name."""
    for each in METRICS.values():
        for words in each.rows:
            found = words.of(row)
            if found is not None:
                return found
    return Words(row, row)


def costly_metrics() -> tuple[str, ...]:
    """The metrics that are computed only where they are asked for by name."""
    return tuple(name for name, each in METRICS.items() if each.costly)


def table_of_metrics() -> str:
    """All metrics as a table in Markdown, for the documentation."""
    lines = ["| metric | rows | for models | by default |", "|---|---|---|---|"]
    for name, each in METRICS.items():
        rows = "; ".join(_row_in_words(words) for words in each.rows)
        lines.append(f"| `{name}` | {rows} | {each.kinds} | {f'no: {each.costly}' if each.costly else 'yes'} |")
    return "\n".join(lines)


def _row_in_words(words: Words) -> str:
    """The name of a row with its unit and good end: ``elbo`` (nats, ↑)."""
    arrow = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}", None: ""}[words.better]
    said = ", ".join(filter(None, (words.unit, arrow)))
    return f"`{words.name}`{f' ({said})' if said else ''}"
