"""Figures of training, posteriors, generations and evaluations; the report of a run.

Computing and drawing are apart: ``plot.kl_per_dimension(plot.KLPerDimension.of(model, data))``. Drawing functions give
Axes or a Figure, save nothing, and leave pyplot and its settings alone.
"""

from mmvae.plotting.figures.calibration import AggregateCalibration, aggregate_calibration
from mmvae.plotting.figures.canonical_bars import canonical_bars
from mmvae.plotting.figures.curves import elbo_curve, elbo_curves
from mmvae.plotting.figures.gap_bars import inference_gaps
from mmvae.plotting.figures.generation_grids import CrossGeneration, PriorSamples, cross_generation, prior_samples
from mmvae.plotting.figures.latent_map import latent_map
from mmvae.plotting.figures.latent_means import LatentMeans, latent_means
from mmvae.plotting.figures.posterior_against_hmc import PosteriorAgainstHMC, posterior_against_hmc
from mmvae.plotting.figures.posterior_moments import (
    KLPerDimension,
    PosteriorOfDatum,
    kl_per_dimension,
    posterior_of_datum,
)
from mmvae.plotting.figures.posterior_ranks import posterior_ranks
from mmvae.plotting.figures.refinement_trace import RefinementTrace, refinement_trace
from mmvae.plotting.figures.scores import coherence_heatmap, comparison
from mmvae.plotting.figures.students_against_teacher import StudentsAgainstTeacher, students_against_teacher
from mmvae.plotting.figures.transfer_heat_map import transfer_matrix
from mmvae.plotting.reports.comparison_report import comparison_report
from mmvae.plotting.reports.run_report import report

__all__ = [
    "AggregateCalibration",
    "CrossGeneration",
    "KLPerDimension",
    "LatentMeans",
    "PosteriorAgainstHMC",
    "PosteriorOfDatum",
    "PriorSamples",
    "RefinementTrace",
    "StudentsAgainstTeacher",
    "aggregate_calibration",
    "canonical_bars",
    "coherence_heatmap",
    "comparison",
    "comparison_report",
    "cross_generation",
    "elbo_curve",
    "elbo_curves",
    "inference_gaps",
    "kl_per_dimension",
    "latent_map",
    "latent_means",
    "posterior_against_hmc",
    "posterior_of_datum",
    "posterior_ranks",
    "prior_samples",
    "refinement_trace",
    "report",
    "students_against_teacher",
    "transfer_matrix",
]
