"""The report of a run: its plots as files, and one HTML page that holds everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mmvae.abilities import Evaluated, Generates, Noted
from mmvae.evaluation import Evaluation
from mmvae.families import load
from mmvae.plotting.figures.cells import Render
from mmvae.plotting.figures.inputs import is_deterministic, spread
from mmvae.plotting.figures.scores import Row, Scores, rows_of
from mmvae.plotting.reports.model_tables import (
    Described,
    sizes,
    write_configuration,
    write_data,
)
from mmvae.plotting.reports.page import Page, number
from mmvae.plotting.reports.pictures import (
    evaluation_pictures,
    generation_pictures,
    latent_pictures,
    posterior_pictures,
    show,
    training_pictures,
    transfer_pictures,
)
from mmvae.plotting.reports.provenance import provenance
from mmvae.plotting.reports.refinement_pictures import gap_pictures, refinement_pictures
from mmvae.plotting.reports.score_tables import mean_cross_coherence, write_scores
from mmvae.plotting.reports.sections import SECTIONS, Place, Reported
from mmvae.plotting.reports.training_tables import best_figures, write_epochs
from mmvae.refinement.amortized import RefinesItself
from mmvae.sources import Data
from mmvae.storage import write_text
from mmvae.training.configuration import describe
from mmvae.training.journal import METRICS_FILE, read_metrics
from mmvae.training.saving import CONFIG_FILE, read_configuration


@runtime_checkable
class RunLike(Protocol):
    """A run, such as :class:`mmvae.training.Run`."""

    path: Path | None
    metrics: list[dict[str, Any]]


def report(
    run: RunLike | str | Path,
    model: Evaluated,
    data: Data,
    *,
    evaluation: Scores | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
    render: Render | None = None,
) -> Path:
    """Writes ``plots/*.png`` and ``report.html``, one page that needs no other file, into the folder of a run.

    The page holds training curves, the numbers of the evaluation, the configuration, the data used, versions, hardware
    and the command line; and, as far as the model goes, plots of the posterior (or of latents that are points), of its
    refinement and of generated data; of classifiers, their encoders (which weights, how many numbers learn), scores by
    subset, confusions and attention; of codebooks, which modalities use which codes. What a model cannot do is left
    out.

    Args:
        run: what ``fit`` returned, or its folder.
        model: of the run.
        data: held-out data to look at, with labels if there are any.
        evaluation: of the model; by default the one that is saved in the folder, if there is one.
        title: of the page; by default the model and its modalities.
        notes: what readers must know, a line each; notes of the model and of the data are added.
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
    configuration = _configuration(folder, model)
    training = configuration.get("training", {})
    kind, names = type(model).__name__, " + ".join(model.names)
    facts = provenance(model)
    page = Page(title or f"{kind} on {names}", f"{kind}, {_size_of(model)}. Written {facts['Written']}.")
    load("report")
    reported = Reported(page, folder, model, data, metrics, training, evaluation, render)

    is_point = is_deterministic(model, spread(data, 1))  # which looks at the data: what does not fit is an error
    page.section("Overview")
    with page.attempt("key figures"):
        page.tiles(_key_figures(model, metrics, evaluation))
    own = [f"{kind}, as it runs here. {model.note}."] if isinstance(model, Noted) else []
    page.notes(dict.fromkeys([*notes, *own, *(data.notes if isinstance(data, Described) else ())]))
    with page.attempt("data"):
        write_data(page, model, data)
    _sections(reported, "before training")
    if metrics:
        page.section("Training")
        show(page, folder, training_pictures(metrics))
        with page.attempt("table of epochs"):
            write_epochs(page, metrics, training)
    if evaluation is not None:
        page.section("Evaluation")
        show(page, folder, evaluation_pictures(evaluation))
        show(page, folder, transfer_pictures({type(model).__name__: evaluation}))
        show(page, folder, gap_pictures(evaluation))
        with page.attempt("scores"):
            write_scores(page, evaluation)
        page.notes(evaluation.notes if isinstance(evaluation, Evaluation) else ())
    _sections(reported, "after evaluation")
    if is_point:
        page.section("Latents")
        with page.attempt("latents"):
            show(page, folder, latent_pictures(model, data))
    else:
        page.section("Posterior")
        show(page, folder, posterior_pictures(model, data))
    if isinstance(model, RefinesItself):
        _refinement(page, folder, model, data)
    if isinstance(model, Generates):
        page.section("Generation")
        show(page, folder, generation_pictures(model, data, render))
    page.section("Configuration")
    write_configuration(page, configuration)
    page.section("Reproduction")
    page.code(facts.pop("Command"))
    page.table(["", ""], list(facts.items()))
    path = folder / "report.html"
    write_text(path, page.html())
    return path


def _metrics(folder: Path) -> list[dict[str, Any]]:
    path = folder / METRICS_FILE
    return read_metrics(path) if path.exists() else []


def _configuration(folder: Path, model: Evaluated) -> Mapping[str, Any]:
    return read_configuration(folder) if (folder / CONFIG_FILE).exists() else {"model": describe(model)}


def _sections(reported: Reported, place: Place) -> None:
    """The sections of families of models."""
    for write in SECTIONS[place]:
        with reported.page.attempt(write.__name__):
            write(reported)


def _refinement(page: Page, folder: Path, model: Evaluated, data: Data) -> None:
    """What refinement does, if there is data to show it on."""
    drawings = list(refinement_pictures(model, data))
    if drawings:
        page.section("Refinement")
        show(page, folder, drawings)


def _size_of(model: Any) -> str:
    every, learning = sizes(model)
    return f"{every:,} parameters" + (f", of which {learning:,} learn" if learning < every else "")


def _key_figures(model: Any, metrics: list[dict[str, Any]], evaluation: Scores | None) -> dict[str, str]:
    every, learning = sizes(model)
    figures = {"parameters": f"{every:,}"}
    if learning < every:
        figures["of which learn"] = f"{learning:,}"
    if metrics:
        figures["epochs of training"] = str(max(row["epoch"] for row in metrics))
        figures |= best_figures(metrics)
    if evaluation is not None:
        coherent = mean_cross_coherence(evaluation)
        if coherent is not None:
            figures["mean coherence of what was not given"] = f"{coherent:.3f}"
        whole = {
            "log_likelihood": "log-likelihood, all modalities (nats)",
            "linear_probe_all": "linear probe, all modalities",
            "accuracy": "accuracy, all modalities",
            "f1_macro": "F1 (macro), all modalities",
            "transfer_mean": "transfer between modalities, mean accuracy",
        }
        for metric, name in whole.items():
            rows = [row for row in rows_of(evaluation) if row["metric"] == metric]
            if rows:
                figures[name] = number(float(max(rows, key=_members)["value"]))
    return figures


def _members(row: Row) -> int:
    return str(row["given"]).count("+")
