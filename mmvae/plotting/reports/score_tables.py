"""Evaluations as tables of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmvae.evaluation.registry import metric_words
from mmvae.evaluation.results import OBSERVED
from mmvae.plotting.figures.scores import Row, Scores, rows_of
from mmvae.plotting.reports.page import Cell, Page, number
from mmvae.words import Better

_NOTHING = "(from the prior)"
SIDE_BY_SIDE = 5
"""Metrics that fit beside each other on the page."""


def write_scores(page: Page, scores: Scores) -> None:
    """All rows of an evaluation as tables.

    What depends on the subset alone stands side by side; a metric with targets has a table of its own; so has what
    depends on no subset.

    Args:
        page: to write on.
        scores: an evaluation or its rows.
    """
    rows = rows_of(scores)
    by_metric = {metric: [row for row in rows if row["metric"] == metric] for metric in _in_order(rows, "metric")}
    overall = [metric for metric, own in by_metric.items() if not any(row["given"] for row in own)]
    targeted = [m for m, own in by_metric.items() if m not in overall and any(row["target"] for row in own)]
    plain = [metric for metric in by_metric if metric not in (*overall, *targeted)]
    alone = [given for given in _in_order(rows, "given") if given and "+" not in given]  # the modalities as they come
    for start in range(0, len(plain), SIDE_BY_SIDE):
        metrics = plain[start : start + SIDE_BY_SIDE]
        own = [row for metric in metrics for row in by_metric[metric]]
        found = {(row["given"], row["metric"]): row for row in own}
        if not start:
            page.heading("By subset")
        page.table(
            ["given", *(metric_words(metric).title for metric in metrics)],
            [[one, *(_cell(found.get((one, metric))) for metric in metrics)] for one in _by_size(own)],
            _meanings(metrics),
        )
    for metric in targeted:
        own = by_metric[metric]
        targets = sorted(_in_order(own, "target"), key=lambda name: alone.index(name) if name in alone else len(alone))
        found = {(row["given"], row["target"]): row for row in own}
        page.heading(metric_words(metric).title)
        page.table(
            ["given", *(f"\N{RIGHTWARDS ARROW} {target}" if target else "all" for target in targets)],
            [[one or _NOTHING, *(_cell(found.get((one, target))) for target in targets)] for one in _by_size(own)],
            _meanings([metric]),
        )
    if overall:
        page.heading("Of no subset")
        page.table(
            ["metric", "of", "value"],
            [[metric_words(m).title, row["target"] or "all", _cell(row)] for m in overall for row in by_metric[m]],
            _meanings(overall),
        )


def write_comparison(page: Page, scores: Mapping[str, Scores]) -> None:
    """A table for each metric, the models side by side, the best value of a row in bold.

    Args:
        page: to write on.
        scores: evaluations by the name of the model.
    """
    names = list(scores)
    every = [(name, row) for name, each in scores.items() for row in rows_of(each)]
    for metric in dict.fromkeys(row["metric"] for _, row in every):
        own = [(name, row) for name, row in every if row["metric"] == metric]
        found = {(name, _key(row)): row for name, row in own}
        keys = sorted(dict.fromkeys(_key(row) for _, row in own), key=lambda key: len(key[0]))
        labels = {_key(row): row for _, row in reversed(own)}
        lines = [[_pair(labels[key]), *(_cell(found.get((name, key))) for name in names)] for key in keys]
        direction = metric_words(metric).better
        best = {
            (line, names.index(name) + 1)
            for line, key in enumerate(keys)
            for name in best_of(
                {name: float(found[name, key]["value"]) for name in names if (name, key) in found}, direction
            )
        }
        end = f" {direction.capitalize()} is better." if direction else ""
        page.heading(metric_words(metric).title)
        page.table(["given", *names], lines, _meanings([metric]) + end, best)


def best_of(values: Mapping[str, float], better: Better | None) -> list[str]:
    """Who has the best value, several if they share it to four digits; nobody without a direction or a rival.

    Args:
        values: by name.
        better: Whether ``"higher"`` or ``"lower"`` values are better; ``None`` where neither is.
    """
    finite = {name: value for name, value in values.items() if not math.isnan(value)}
    if better is None or len(finite) < 2:
        return []
    top = max(finite.values()) if better == "higher" else min(finite.values())
    return [name for name, value in finite.items() if number(value) == number(top)]


def mean_cross_coherence(scores: Scores) -> float | None:
    """The mean coherence of modalities that were not given, or ``None`` where there is none."""
    values = [
        float(row["value"])
        for row in rows_of(scores)
        if row["metric"] == "coherence" and row["target"] not in row["given"].split("+")
    ]
    return sum(values) / len(values) if values else None


def _key(row: Row) -> tuple[tuple[str, ...], str]:
    """What a row is about; the order in which a subset's members are written is lost."""
    return tuple(sorted(filter(None, row["given"].split("+")))), row["target"]


def _pair(row: Row) -> str:
    if not row["given"]:
        return row["target"] or "all"
    return f"{row['given']} \N{RIGHTWARDS ARROW} {row['target']}" if row["target"] else str(row["given"])


def _cell(row: Row | None) -> Cell:
    if row is None:
        return None
    value, error = float(row["value"]), row.get("stderr")
    return f"{number(value)} ± {float(error):.2g}" if error not in (None, "") else number(value)


def _meanings(metrics: list[Any]) -> str:
    named = [metric_words(metric) for metric in metrics]
    if len(named) == 1:
        return named[0].meaning
    return " ".join(f"{each.title}: {each.meaning}" for each in named if each.meaning)


def _in_order(rows: list[Row], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def _by_size(rows: list[Row]) -> list[str]:
    """Labels of subsets, those of few members first; then whatever is observed, and the prior last."""
    last = {OBSERVED: 1, "": 2}
    return sorted(_in_order(rows, "given"), key=lambda one: (last.get(one, 0), one.count("+")))
