"""The report of a run: its plots as files, and one HTML page that holds everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mmvae.evaluation import Evaluation
from mmvae.plotting.cells import Render
from mmvae.plotting.curves import term_names
from mmvae.plotting.inputs import Generates, spread
from mmvae.plotting.page import Page, number
from mmvae.plotting.pictures import (
    evaluation_pictures,
    generation_pictures,
    posterior_pictures,
    show,
    training_pictures,
)
from mmvae.plotting.provenance import provenance
from mmvae.plotting.refinement_pictures import gap_pictures, refinement_pictures
from mmvae.plotting.score_tables import mean_cross_coherence, write_scores
from mmvae.plotting.scores import Row, Scores, rows_of
from mmvae.refinement.amortized import RefinesItself
from mmvae.sources import Data, as_source
from mmvae.training.configuration import describe
from mmvae.training.journal import METRICS_FILE, read_metrics
from mmvae.training.storage import read_json, write_text

_LOOKED_AT = 2000


@runtime_checkable
class Described(Protocol):
    """Data that knows where it comes from, such as :class:`mmvae.data.MultimodalDataset`."""

    name: str
    sources_used: dict[str, str]
    notes: tuple[str, ...]


@runtime_checkable
class RunLike(Protocol):
    """A run, such as :class:`mmvae.training.Run`."""

    path: Path | None
    metrics: list[dict[str, Any]]


def report(
    run: RunLike | str | Path,
    model: Any,
    data: Data,
    *,
    evaluation: Scores | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
    render: Render | None = None,
) -> Path:
    """Writes ``plots/*.png`` and ``report.html``, one page that needs no other file, into the folder of a run.

    The page holds training curves, the numbers of the evaluation, plots of the posterior, of its refinement and of
    generated data, the configuration, the data used, versions, hardware and the command line. What a model cannot do
    (a prior, decoders, refinement) is left out.

    Args:
        run: what ``fit`` returned, or its folder.
        model: of the run.
        data: held-out data to look at, with labels if there are any.
        evaluation: of the model; by default the one that is saved in the folder, if there is one.
        title: of the page; by default the model and its modalities.
        notes: what readers must know, a line each; notes of the data are added.
        render: by modality, a callable from one datum's codes ``[*shape]`` to the string to show.

    Returns:
        The path of the page.

    Raises:
        ValueError: for a run that was made without a folder.
    """
    folder = Path(run) if isinstance(run, str | Path) else run.path
    if folder is None:
        raise ValueError("report: this run has no folder; pass out= to fit, or the path of a folder to report().")
    metrics = _metrics(folder) if isinstance(run, str | Path) else list(run.metrics)
    if evaluation is None and (folder / "evaluation.json").exists():
        evaluation = Evaluation.load(folder)
    kind, names = type(model).__name__, " + ".join(model.names)
    facts = provenance(model)
    page = Page(title or f"{kind} on {names}", f"{kind}, {_size_of(model)} parameters. Written {facts['Written']}.")

    page.section("Overview")
    page.tiles(_key_figures(model, metrics, evaluation))
    page.notes(dict.fromkeys([*notes, *(data.notes if isinstance(data, Described) else ())]))
    _write_data(page, model, data)
    if metrics:
        page.section("Training")
        show(page, folder, training_pictures(metrics))
        _write_epochs(page, metrics)
    if evaluation is not None:
        page.section("Evaluation")
        show(page, folder, evaluation_pictures(evaluation))
        show(page, folder, gap_pictures(evaluation))
        write_scores(page, evaluation)
        page.notes(evaluation.notes if isinstance(evaluation, Evaluation) else ())
    page.section("Posterior")
    show(page, folder, posterior_pictures(model, data))
    refined = list(refinement_pictures(model, data)) if isinstance(model, RefinesItself) else []
    if refined:
        page.section("Refinement")
        show(page, folder, refined)
    if isinstance(model, Generates):
        page.section("Generation")
        show(page, folder, generation_pictures(model, data, render))
    page.section("Configuration")
    _write_configuration(page, folder, model)
    page.section("Reproduction")
    page.code(facts.pop("Command"))
    page.table(["", ""], list(facts.items()))
    path = folder / "report.html"
    write_text(path, page.html())
    return path


def _metrics(folder: Path) -> list[dict[str, Any]]:
    path = folder / METRICS_FILE
    return read_metrics(path) if path.exists() else []


def _size_of(model: Any) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()):,}"


def _key_figures(model: Any, metrics: list[dict[str, Any]], evaluation: Scores | None) -> dict[str, str]:
    figures = {"parameters": _size_of(model)}
    if metrics:
        figures["epochs of training"] = str(max(row["epoch"] for row in metrics))
        validated = [row for row in metrics if row["split"] == "validation"]
        bounds = [row["elbo"] for row in validated or metrics if "elbo" in row]
        if bounds:
            where = "validation" if validated else "training"
            figures[f"best ELBO in {where} (nats per datum)"] = number(max(bounds))
    if evaluation is not None:
        coherent = mean_cross_coherence(evaluation)
        if coherent is not None:
            figures["mean coherence of what was not given"] = f"{coherent:.3f}"
        whole = {
            "log_likelihood": "log-likelihood, all modalities (nats)",
            "linear_probe_all": "linear probe, all modalities",
        }
        for metric, name in whole.items():
            rows = [row for row in rows_of(evaluation) if row["metric"] == metric]
            if rows:
                figures[name] = number(float(max(rows, key=_members)["value"]))
    return figures


def _members(row: Row) -> int:
    return str(row["given"]).count("+")


def _write_data(page: Page, model: Any, data: Data) -> None:
    batch = spread(data, _LOOKED_AT)
    sources = data.sources_used if isinstance(data, Described) else {}
    name = f"{data.name}: " if isinstance(data, Described) else ""
    page.heading("Data looked at")
    page.paragraph(f"{name}{len(as_source(data)):,} data points. Plots use some of them, evenly spread.")
    present = {each: float(batch.observed[each].float().mean()) for each in batch.names}
    page.table(
        ["modality", "source", "shape", "likelihood", "weight in training", f"observed (of {batch.size:,})"],
        [
            [
                modality.name,
                sources.get(modality.name, ""),
                "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}".join(map(str, modality.shape)),
                _called(description["likelihood"]),
                number(float(model.weights[modality.name])),
                f"{present.get(modality.name, 0.0):.1%}",
            ]
            for modality, description in zip(model.modalities, describe(model)["modalities"], strict=True)
        ],
    )


def _write_epochs(page: Page, metrics: list[dict[str, Any]]) -> None:
    terms = term_names(metrics)
    last = max(row["epoch"] for row in metrics)
    shown = [row for row in metrics if row["epoch"] == last]
    validated = [row for row in metrics if row["split"] == "validation" and "elbo" in row]
    if validated:
        best = max(validated, key=lambda row: row["elbo"])
        shown = [row for row in metrics if row["epoch"] == best["epoch"] != last] + shown
    seconds = sum(row.get("seconds", 0.0) for row in metrics)
    page.table(
        ["epoch", "split", *terms],
        [[str(row["epoch"]), row["split"], *(row.get(term) for term in terms)] for row in shown],
        f"The epoch of the best validation ELBO, and the last; nats per datum. {seconds:,.0f} s of training in all.",
    )


def _write_configuration(page: Page, folder: Path, model: Any) -> None:
    saved = folder / "config.json"
    configuration = read_json(saved) if saved.exists() else {"model": describe(model)}
    flat: dict[str, Any] = dict(configuration["model"]["arguments"]) | dict(configuration.get("training", {}))
    page.table(["setting", "value"], [[name, _plain(value)] for name, value in flat.items()])
    page.code(json.dumps(configuration, indent=2, ensure_ascii=False), "The whole configuration")


def _called(description: dict[str, Any]) -> str:
    """A part of a model's description as the call that makes it."""
    if "class" not in description:
        return ", ".join(str(each) for each in description.values())
    return f"{description['class']}({', '.join(f'{k}={_plain(v)}' for k, v in description['arguments'].items())})"


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
