"""The figures of a report, with the words that go with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from mmvae.abilities import Evaluated, HasPrior, Samples
from mmvae.batch import Batch
from mmvae.plotting.figures.calibration import AggregateCalibration, aggregate_calibration
from mmvae.plotting.figures.cells import Render
from mmvae.plotting.figures.curves import elbo_curves, term_names
from mmvae.plotting.figures.generation_grids import CrossGeneration, PriorSamples, cross_generation, prior_samples
from mmvae.plotting.figures.inputs import spread
from mmvae.plotting.figures.latent_map import latent_map
from mmvae.plotting.figures.latent_means import LatentMeans, latent_means
from mmvae.plotting.figures.posterior_moments import (
    KLPerDimension,
    PosteriorOfDatum,
    kl_per_dimension,
    posterior_of_datum,
)
from mmvae.plotting.figures.scores import Row, Scores, coherence_heatmap, rows_of
from mmvae.plotting.figures.style import new_figure, panels, style, to_png
from mmvae.plotting.figures.transfer_heat_map import transfer_matrix
from mmvae.plotting.reports.page import Page
from mmvae.sources import Data
from mmvae.storage import write_bytes
from mmvae.subsets import label

_MOST_CALIBRATED = 4
_MAPPED, _FEWEST_MAPPED = 300, 4
"""Data points of a map of neighbours, which takes seconds, and how many it needs."""


class Picture(NamedTuple):
    """A figure of a report.

    Attributes:
        name: of its file, without the ending.
        figure: what is shown.
        alt: what it shows, for those who do not see it.
        caption: what to see, and how to read it; its first sentence is the heading.
    """

    name: str
    figure: Figure
    alt: str
    caption: str


class Drawing(NamedTuple):
    """A picture that is not drawn yet, so that one that fails does not cost the others.

    Attributes:
        what: Name of the picture, for readers.
        draw: Compute and draw it.
    """

    what: str
    draw: Callable[[], Picture]


def show(page: Page, folder: Path, drawings: Iterable[Drawing]) -> None:
    """Write each picture as a file under ``plots`` and into the page; of one that fails the page says why."""
    for drawing in drawings:
        with page.attempt(drawing.what):
            picture = drawing.draw()
            png = to_png(picture.figure)
            write_bytes(folder / "plots" / f"{picture.name}.png", png)
            page.figure(png, picture.alt, picture.caption)


def training_pictures(metrics: list[dict[str, Any]]) -> Iterator[Drawing]:
    """The curves of a run."""
    yield Drawing("training curves", lambda: _curves(metrics))


def _curves(metrics: list[dict[str, Any]]) -> Picture:
    if "elbo" in term_names(metrics):
        what = (
            "Each panel is one term, in nats per datum. The ELBO is the sum of the modalities' expected "
            "log-likelihoods minus the KL from the prior, without any weight; the loss carries the weights of the "
            "modalities and of the KL."
        )
    else:
        what = (
            "Each panel is one term, without its weight; the loss is their weighted sum. Some terms are only watched: "
            "they are no part of it."
        )
    return Picture(
        "elbo_curves",
        elbo_curves(metrics),
        f"Curves over epochs of {', '.join(term_names(metrics))}.",
        f"Training and validation. {what} A validation curve that turns back while training goes on shows overfitting.",
    )


def evaluation_pictures(scores: Scores, name: str = "coherence", of: str = "") -> Iterator[Drawing]:
    """Coherence as a heat map, if it was measured.

    Args:
        scores: an evaluation or its rows.
        name: of the file.
        of: the name of the model, where there are several.
    """
    rows = [row for row in rows_of(scores) if row["metric"] == "coherence"]
    if rows:
        yield Drawing("coherence", lambda: _coherence(rows, name, of))


def _coherence(rows: list[Row], name: str, of: str) -> Picture:
    pairs = ", ".join(f"{row['given']} to {row['target']} {row['value']:.2f}" for row in rows)
    return Picture(
        name,
        coherence_heatmap(rows).figure,  # type: ignore[arg-type]
        f"Heat map of coherence: {pairs}.",
        f"Coherence{' of ' + of if of else ''}. Share of generated data in the class of what was given; rows: what "
        "inference looked at, columns: what was generated. Numbers in italics are reconstructions of a modality "
        "that was given; the others are what cross-modal generation is judged by.",
    )


def transfer_pictures(evaluations: Mapping[str, Scores]) -> Iterator[Drawing]:
    """Transfer between modalities as heat maps side by side, of the models for which it was measured.

    Args:
        evaluations: by the name of the model.
    """
    found = {name: [row for row in rows_of(each) if row["metric"] == "transfer"] for name, each in evaluations.items()}
    found = {name: rows for name, rows in found.items() if rows}
    if found:
        yield Drawing("transfer", lambda: _transfer(found))


def _transfer(found: Mapping[str, list[Row]]) -> Picture:
    pairs = "; ".join(
        ", ".join([name, *(f"{row['given']} to {row['target']} {row['value']:.2f}" for row in rows)])
        for name, rows in found.items()
    )
    return Picture(
        "transfer",
        transfer_matrix(found),
        f"Heat maps of transfer between modalities. {pairs}.",
        "Transfer between modalities. Accuracy of a classifier that was fitted on the latents of one modality "
        "(rows) and tested on those of another (columns). Numbers in italics: tested on the modality it was fitted "
        "on, which is what the others in its column are held against.",
    )


def posterior_pictures(model: Evaluated, data: Data) -> Iterator[Drawing]:
    """What the posterior of each subset looks like; what needs a prior only for models that have one."""
    yield Drawing("posterior means", lambda: _posterior_means(model, data))
    if isinstance(model, HasPrior):
        yield Drawing("KL in each latent dimension", lambda: _kl(model, data))
    yield Drawing("posterior of the first datum", lambda: _datum(model, data))
    if isinstance(model, HasPrior):
        yield Drawing("calibration of the aggregate posterior", lambda: _calibration(model, data))


def _posterior_means(model: Evaluated, data: Data) -> Picture:
    means = LatentMeans.of(model, data)
    look = (
        "Ellipses: one posterior standard deviation of the same few data points in each panel, of the matching "
        "Gaussian where the posterior is a mixture; dotted: that of the prior. Look for classes that stay apart when "
        "modalities are missing, and for ellipses that grow then."
    )
    return _means_picture(means, "Posterior means", "means", f".{_colours(means)} {look}")


def _kl(model: Evaluated, data: Data) -> Picture:
    kl = KLPerDimension.of(model, data)
    active = "; ".join(f"{label(s)} {int(a.sum())}" for s, a in zip(kl.subsets, kl.active, strict=True))
    return Picture(
        "kl_per_dimension",
        kl_per_dimension(kl).figure,  # type: ignore[arg-type]
        f"KL from the prior in each latent dimension. Active dimensions: {active}.",
        "What each latent dimension carries. KL from the prior in nats, averaged over the data; bars for all "
        "modalities, marks for one at a time. A dimension is active if its posterior mean varies over the data by "
        "more than 0.01. A mark far above the bar: this modality alone is surer than all together, as happens in "
        "mixtures; one near zero: it says nothing about this dimension.",
    )


def _datum(model: Evaluated, data: Data) -> Picture:
    datum = PosteriorOfDatum.of(model, data)
    return Picture(
        "posterior_of_datum",
        posterior_of_datum(datum).figure,  # type: ignore[arg-type]
        f"Posterior mean and standard deviation of the first datum from {', '.join(map(label, datum.subsets))}.",
        "The posterior of the first datum from each subset. Mean and one standard deviation in the dimensions that "
        "move furthest from the prior. More modalities should narrow the bars, and bars of different subsets should "
        "overlap where they know the same.",
    )


def latent_pictures(model: Evaluated, data: Data) -> Iterator[Drawing]:
    """Where the latents of a model whose posteriors are points lie, given each subset."""
    yield Drawing("latents", lambda: _latent_means(model, data))
    few = spread(data, _MAPPED)
    if few.size >= _FEWEST_MAPPED:
        yield Drawing("map of neighbours", lambda: _neighbours(model, few))


def _latent_means(model: Evaluated, data: Data) -> Picture:
    means = LatentMeans.of(model, data)
    look = "Look for classes that stay apart, and stay where they are, when modalities are missing."
    rest = f"; of sequences, the mean over their steps.{_colours(means)} {look}"
    return _means_picture(means, "Latents", "latents", rest)


def _neighbours(model: Evaluated, few: Batch) -> Picture:
    alone = [name for name in model.names if name in few.names and bool(few.observed[name].any())]
    mapped = LatentMeans.of(model, few, alone, method="tsne")
    return Picture(
        "latent_map",
        latent_map(mapped),
        f"t-SNE map of the latents given {', '.join(alone)} alone.",
        f"Latents of single modalities in one map of neighbours (t-SNE).{_colours(mapped)} Markers are what was "
        "given. Where modalities agree, markers of all kinds lie together in the islands of their class; islands of "
        "one marker are what a modality says in a way of its own. Distances between islands, and their sizes, mean "
        "nothing.",
    )


def _means_picture(means: LatentMeans, what: str, short: str, rest: str) -> Picture:
    """Latents in a plane, a panel for each subset.

    Args:
        means: to draw.
        what: the heading calls them.
        short: what the sentences call them.
        rest: of the caption, after "so positions compare".
    """
    subsets = ", ".join(map(label, means.subsets))
    return Picture(
        "latent_means",
        latent_means(means),
        f"Scatter plots of {what.lower()} in two dimensions, one panel for each of {subsets}.",
        f"{what} by subset. The axes are the principal components of the {short} given all modalities, the same in "
        f"every panel, so positions compare{rest}",
    )


def _colours(means: LatentMeans) -> str:
    return " Colours are labels." if means.labels is not None else ""


def _calibration(model: Evaluated, data: Data) -> Picture:
    """The single modalities and the whole, or the whole alone where that would be too many panels."""
    few = spread(data, 1)
    names = tuple(name for name in model.names if name in few.names)
    subsets = [*((name,) for name in names), names] if len(names) > 1 else [names]
    shown = subsets if len(subsets) <= _MOST_CALIBRATED else subsets[-1:]
    found = [AggregateCalibration.of(model, data, subset) for subset in shown]
    columns = min(2, len(found))
    lines = -(-len(found) // columns)
    figure = new_figure(3.5 * columns, 3.9 * lines)
    with style():
        for ax, each in zip(panels(figure, len(found), columns), found, strict=True):
            aggregate_calibration(each, ax)
    leaving = "; ".join(f"{label(e.subset)} {int((e.distance > e.band).sum())}" for e in found)
    return Picture(
        "aggregate_calibration",
        figure,
        f"Aggregate posterior against the prior, a curve per latent dimension. Leaving the 95 % band: {leaving}.",
        "The aggregate posterior against the prior. One draw from the posterior of each datum; how many of them lie "
        "below each quantile of the prior, a line per latent dimension. On the diagonal they match, and samples from "
        "the prior decode to data like the real ones. An S that starts flat: narrower than the prior; one that starts "
        "steep: wider; to one side: shifted.",
    )


def generation_pictures(model: Evaluated, data: Data, render: Render | None) -> Iterator[Drawing]:
    """What a model generates from each subset, and from the prior if it has one."""
    yield Drawing("generation from subsets", lambda: cross_picture(CrossGeneration.of(model, data), render))
    if isinstance(model, Samples):
        yield Drawing("samples from the prior", lambda: _samples(model, data, render))


def _samples(model: Samples, data: Data, render: Render | None) -> Picture:
    rows = spread(data, 24)  # whose covariates, if there are some, the samples have
    samples = PriorSamples.of(model, len(rows), covariates=rows.covariates)
    return Picture(
        "prior_samples",
        prior_samples(samples, render),
        f"Samples from the prior of {', '.join(samples.data)}.",
        "Samples from the prior. The modalities below each other come from the same latent, and should tell of the "
        "same thing.",
    )


def cross_picture(
    arrays: CrossGeneration, render: Render | None, name: str = "cross_generation", of: str = ""
) -> Picture:
    """The grid of what is generated from each subset.

    Args:
        arrays: to draw.
        render: by modality, a callable from one datum's codes to the string to show.
        name: of the file.
        of: the name of the model, where there are several.
    """
    subsets = ", ".join(map(label, arrays.subsets))
    return Picture(
        name,
        cross_generation(arrays, render),
        f"Grid of {', '.join(arrays.names)}: the data, and what is generated given {subsets}.",
        f"Generated from every subset{', ' + of if of else ''}. Rows are data points; the first block is the data, "
        "each other block what the model generates from one draw of the posterior given the subset. Bold headings: the "
        "modality was given, and is reconstructed; the others are cross-generated, and should agree with the data in "
        "content, not in style.",
    )
