"""The report of several models side by side."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvae.abilities import Generates, Predicts, Samples
from mmvae.evaluation.registry import metric_words
from mmvae.plotting.figures.cells import Render
from mmvae.plotting.figures.generation_grids import CrossGeneration
from mmvae.plotting.figures.scores import Scores, comparison, per_subset, rows_of
from mmvae.plotting.reports.model_tables import sizes
from mmvae.plotting.reports.page import Page, number
from mmvae.plotting.reports.pictures import (
    Drawing,
    Picture,
    cross_picture,
    evaluation_pictures,
    show,
    transfer_pictures,
)
from mmvae.plotting.reports.provenance import provenance
from mmvae.plotting.reports.score_tables import SIDE_BY_SIDE, best_of, mean_cross_coherence, write_comparison
from mmvae.sources import Data
from mmvae.storage import write_text

_COMPARED = ("coherence", "log_likelihood", "linear_probe_all", "accuracy", "f1_macro")


def comparison_report(
    folder: str | Path,
    evaluations: Mapping[str, Scores],
    *,
    models: Mapping[str, Any] | None = None,
    data: Data | None = None,
    reports: Mapping[str, str | Path] | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
    render: Render | None = None,
) -> Path:
    """Writes ``plots/*.png`` and ``report.html``, one page on several models, into a folder.

    The page holds a table for each metric with the best value of each row in bold, plots of the main metrics, the
    coherence of each model, transfer between modalities, and what each model generates from the same data. Models may
    be of different families: each is in the tables and plots of what was measured of it.

    Args:
        folder: made if it is not there.
        evaluations: by the name of the model.
        models: by the same names, if generated data is to be shown; then ``data`` is needed.
        data: that all models generate from.
        reports: by the same names, paths of the reports of the runs, to link to.
        title: of the page.
        notes: what readers must know, a line each.
        render: by modality, a callable from one datum's codes ``[*shape]`` to the string to show.

    Returns:
        The path of the page.

    Raises:
        ValueError: for no evaluations, models or reports under a name that has no evaluation, or models without data.
    """
    folder = Path(folder)
    if not evaluations:
        raise ValueError("comparison_report: no evaluations; pass a dict from names to evaluations.")
    for what, given in (("models", models or {}), ("reports", reports or {})):
        unknown = [name for name in given if name not in evaluations]
        if unknown:
            raise ValueError(
                f"{what}: {unknown[0]!r} has no evaluation; the names there are {', '.join(map(repr, evaluations))}."
            )
    if models and data is None:
        raise ValueError("comparison_report: models generate from data; pass data= too.")
    names = ", ".join(evaluations)
    facts = provenance()
    page = Page(title or f"Comparison of {names}", f"{len(evaluations)} models. Written {facts['Written']}.")
    page.section("Overview")
    page.notes(notes)
    links = {name: os.path.relpath(path, folder) for name, path in (reports or {}).items()}
    _write_overview(page, evaluations, links)
    if models:
        _write_models(page, models)
    pictures = _metric_pictures(evaluations)
    if pictures:
        page.section("Main metrics")
        show(page, folder, pictures)
    page.section("All metrics")
    write_comparison(page, evaluations)
    coherent = [name for name in evaluations if mean_cross_coherence(evaluations[name]) is not None]
    if coherent:
        page.section("Coherence")
        for place, name in enumerate(coherent, 1):
            page.heading(name)
            show(page, folder, evaluation_pictures(evaluations[name], f"coherence_{place}", name))
    transferred = list(transfer_pictures(evaluations))
    if transferred:
        page.section("Transfer")
        show(page, folder, transferred)
    if models and data is not None:
        page.section("Generation")
        for place, (name, model) in enumerate(models.items(), 1):
            page.heading(name)
            if isinstance(model, Generates):
                draw = functools.partial(_generated, model, data, render, place, name)
                show(page, folder, [Drawing("generation", draw)])
            else:
                page.paragraph(f"{type(model).__name__} does not generate.")
    page.section("Reproduction")
    page.code(facts.pop("Command"))
    page.table(["", ""], list(facts.items()))
    path = folder / "report.html"
    write_text(path, page.html())
    return path


def _generated(model: Any, data: Data, render: Render | None, place: int, name: str) -> Picture:
    return cross_picture(CrossGeneration.of(model, data), render, f"cross_generation_{place}", name)


def _write_overview(page: Page, evaluations: Mapping[str, Scores], links: Mapping[str, str]) -> None:
    """A line per model: one number for each metric of which one end is the good one; a few metrics to a table."""
    names = list(evaluations)
    metrics = dict.fromkeys(row["metric"] for each in evaluations.values() for row in rows_of(each))
    judged = [metric for metric in metrics if metric_words(metric).better]
    caption = (
        "Inferred from the largest subset that was measured (the mean over those of one size); where there are "
        "targets, the mean over those that were not given (over all, if all were). Coherence: over all subsets. The "
        "best is bold; names lead to reports."
    )
    for start in range(0, max(1, len(judged)), SIDE_BY_SIDE):
        columns = {metric: _summaries(evaluations, metric) for metric in judged[start : start + SIDE_BY_SIDE]}
        rows = [
            [name, *(number(found[name]) if name in found else None for found in columns.values())] for name in names
        ]
        best = {
            (names.index(name), place)
            for place, (metric, found) in enumerate(columns.items(), 1)
            for name in best_of(found, metric_words(metric).better)
        }
        header = ["model", *(metric_words(metric).title for metric in columns)]
        page.table(header, rows, "" if start else caption, best, links)


def _write_models(page: Page, models: Mapping[str, Any]) -> None:
    """A line per model: what it is, how large it is, and what it does."""
    page.heading("Models")
    abilities = {"classifies": Predicts, "generates": Generates, "has a prior": Samples}
    rows: list[list[str]] = []
    for name, model in models.items():
        every, learning = sizes(model)
        does = ["yes" if isinstance(model, ability) else "no" for ability in abilities.values()]
        rows.append([name, type(model).__name__, f"{every:,}", f"{learning:,}", *does])
    page.table(["model", "class", "parameters", "of which learn", *abilities], rows)


def _summaries(evaluations: Mapping[str, Scores], metric: str) -> dict[str, float]:
    found = {}
    for name, each in evaluations.items():
        by_subset = per_subset(each, metric)
        cross = mean_cross_coherence(each) if metric == "coherence" else None
        if cross is not None:
            found[name] = cross
        elif by_subset:
            most = max(given.count("+") for given in by_subset)
            largest = [value for given, (value, _) in by_subset.items() if given.count("+") == most]
            found[name] = sum(largest) / len(largest)
    return found


def _metric_pictures(evaluations: Mapping[str, Scores]) -> list[Drawing]:
    measured = {row["metric"] for each in evaluations.values() for row in rows_of(each)}
    return [
        Drawing(metric_words(metric).title, functools.partial(_metric_picture, evaluations, metric))
        for metric in _COMPARED
        if metric in measured
    ]


def _metric_picture(evaluations: Mapping[str, Scores], metric: str) -> Picture:
    return Picture(
        f"comparison_{metric}",
        comparison(evaluations, metric).figure,  # type: ignore[arg-type]
        f"{metric_words(metric).title} by subset of {', '.join(evaluations)}.",
        f"{metric_words(metric).title} by subset. {metric_words(metric).meaning} Horizontal lines: standard errors."
        + (" Averaged over the modalities that were not given." if metric == "coherence" else ""),
    )
