"""The figures of a report that are about refinement, with the words that go with them."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from mmvae.abilities import Evaluated
from mmvae.plotting.figures.gap_bars import GAPS, inference_gaps
from mmvae.plotting.figures.inputs import prior_of, spread, whole_rows
from mmvae.plotting.figures.posterior_against_hmc import PosteriorAgainstHMC, posterior_against_hmc
from mmvae.plotting.figures.refinement_trace import RefinementTrace, refinement_trace
from mmvae.plotting.figures.scores import Row, Scores, rows_of
from mmvae.plotting.figures.students_against_teacher import StudentsAgainstTeacher, students_against_teacher
from mmvae.plotting.reports.pictures import Drawing, Picture
from mmvae.refinement import HMC
from mmvae.sources import Data
from mmvae.subsets import label

_LOOKED_AT = 1000

_TRACED, _ASCENT = 16, 30
"""Data and steps of ascent, each of which decodes every datum 32 times or more."""

_FEW_DRAWS = HMC(30, warmup=40, max_tree_depth=5)
"""A few thousand passes through the decoders at most: half a minute of one core for digits and a latent of 20."""

_TRUSTED_R_HAT = 1.1


def gap_pictures(scores: Scores) -> Iterator[Drawing]:
    """The gaps of inference, if they were measured."""
    rows = [row for row in rows_of(scores) if row["metric"] in GAPS]
    if rows:
        yield Drawing("gaps of inference", lambda: _gaps(scores, rows))


def _gaps(scores: Scores, rows: list[Row]) -> Picture:
    values = ", ".join(f"{GAPS[row['metric']]} given {row['given']} {row['value']:.3g}" for row in rows)
    notes = "".join(f" Amortisation gaps are those {note}." for note in dict.fromkeys(_notes(rows)))
    return Picture(
        "inference_gaps",
        inference_gaps(scores).figure,  # type: ignore[arg-type]
        f"Bars in nats: {values}.",
        "Gaps of inference. What the ELBO lacks of the log-likelihood of the given modalities, in honest nats, in "
        "two parts. The amortisation gap is what gradient ascent on each datum's own Gaussian gains over the "
        "posterior of the model: better encoders, or refinement, can close it. The approximation gap is what the "
        "best Gaussian still lacks: only another family of posteriors, or another generative model, can. Lines are "
        f"standard errors.{notes}",
    )


def _notes(rows: list[Row]) -> Iterator[str]:
    """What rows of the amortisation gap are about, where that is not the posterior itself."""
    yield from (row["note"] for row in rows if row["metric"] == "amortization_gap" and row.get("note"))


def refinement_pictures(model: Evaluated, data: Data) -> Iterator[Drawing]:
    """What refinement does to the posterior of a model that refines itself, and what its students make of it.

    Of data that have every modality; none, where there are no two such data among those looked at.
    """
    batch = spread(data, _LOOKED_AT)
    whole = whole_rows(batch, model.names)
    if len(whole) < 2:
        return
    complete = batch[whole]
    trace = functools.partial(RefinementTrace.of, model, complete, ascent_steps=_ASCENT, size=_TRACED)
    yield Drawing("course of refinement", lambda: _trace_picture(trace()))
    if prior_of(model).event_shape[0] > 1:
        chains = functools.partial(PosteriorAgainstHMC.of, model, complete, hmc=_FEW_DRAWS)
        yield Drawing("posterior against HMC", lambda: _hmc_picture(chains()))
    if len(model.names) > 1:
        yield Drawing("students and teacher", lambda: _students_picture(StudentsAgainstTeacher.of(model, complete)))


def _trace_picture(arrays: RefinementTrace) -> Picture:
    assert arrays.network is not None  # the model refines itself
    trained = arrays.trained_steps
    network, ascent = (float((each[-1] - each[0]).mean()) for each in (arrays.network, arrays.gradient))
    at = f"{len(arrays.network) - 1} steps of the network {network:.4g}"
    weights = "with the modality and KL weights of training" if arrays.weighted else "in honest nats"
    return Picture(
        "refinement_trace",
        refinement_trace(arrays).figure,  # type: ignore[arg-type]
        f"Gain in the bound per step of refinement, in nats: {at}, {len(arrays.gradient) - 1} steps of ascent "
        f"{ascent:.4g}.",
        f"The bound in the course of refinement. Gain over the posterior before the first step, {weights}, over "
        f"{arrays.gradient.shape[1]} data points. The network should rise up to the {trained} steps of its training "
        "and not fall beyond them; a band that reaches below zero holds data that refinement made worse. Gradient "
        "ascent from the same start shows what there is to gain; its end stands at the right edge. If it hardly "
        "rises, there was no gap to close.",
    )


def _hmc_picture(arrays: PosteriorAgainstHMC) -> Picture:
    met = arrays.r_hat < _TRUSTED_R_HAT
    pairs = " and ".join(f"{first} and {second}" for first, second in arrays.dimensions)
    diagnostics = f"R-hat {arrays.r_hat:.2f}, effective sample size {arrays.effective_sample_size:.0f}"
    verdict = (
        "The chains agree well enough for a look."
        if met
        else "The chains have not met: read the dots as a hint, and draw more before you trust them."
    )
    return Picture(
        "posterior_against_hmc",
        posterior_against_hmc(arrays),
        f"Draws from the true posterior of the first datum, and ellipses of {', '.join(arrays.names)}, in the latent "
        f"dimensions {pairs}; {diagnostics}.",
        f"The posterior of the first datum against the true one. Given {label(arrays.subset)}, in the dimensions that "
        "move furthest from the prior. Dots are draws by Hamiltonian Monte Carlo; ellipses lie one and two standard "
        "deviations from the mean of each Gaussian. Refinement should move the ellipses onto the dots; a diagonal "
        "Gaussian cannot tilt, and is narrower than the dots where they do. Draws and ascent know no weights; the "
        "network climbs the bound of training, and where that has weights its ellipses need not meet the dots. "
        f"{len(arrays.draws)} draws, worst dimension: {diagnostics}. {verdict}",
    )


def _students_picture(arrays: StudentsAgainstTeacher) -> Picture:
    found = "; ".join(
        f"{name} {arrays.cosine[place].mean():.2f}, by chance {arrays.cosine_shuffled[place].mean():.2f}"
        for place, name in enumerate(arrays.names)
    )
    return Picture(
        "students_against_teacher",
        students_against_teacher(arrays),
        f"Posteriors given one modality against that given all: mean, scale and cosine. Mean cosine: {found}.",
        "Students against their teacher. A row per modality: the posterior given it alone (student) against that given "
        "all (teacher), all latent dimensions of all data in one, darker where there are more. On the dashed line they "
        "agree. A student that knows only part of what its teacher knows has means nearer to the middle, and should "
        "be wider (above the line in scale). R² is the share of the variance of the teacher's means that "
        "the student's explain; the ratio of scales is the geometric mean. The cosine is that of the means of the "
        "same datum; the outline is the same between different data. Only what exceeds it says something of a datum.",
    )
