"""Figures of training, posteriors, generations and evaluations; the report of a run.

The public names of figures of all families.

Computing and drawing are apart: ``plot.kl_per_dimension(plot.KLPerDimension.of(model, data))``. Drawing functions give
Axes or a Figure, save nothing, and leave pyplot and its settings alone.
"""

from mmvae.classifiers.attention import AttentionMaps, attention_maps
from mmvae.classifiers.confusion import ConfusionMatrix, confusion_matrix
from mmvae.classifiers.robustness import RobustnessCurves, robustness_curves
from mmvae.codebooks.code_usage import CodeUsage, code_usage
from mmvae.codebooks.kept_dimensions import TOCCurve, toc_curve
from mmvae.plotting import (
    AggregateCalibration,
    CrossGeneration,
    KLPerDimension,
    LatentMeans,
    PosteriorAgainstHMC,
    PosteriorOfDatum,
    PriorSamples,
    RefinementTrace,
    StudentsAgainstTeacher,
    aggregate_calibration,
    canonical_bars,
    coherence_heatmap,
    comparison,
    comparison_report,
    cross_generation,
    elbo_curve,
    elbo_curves,
    inference_gaps,
    kl_per_dimension,
    latent_map,
    latent_means,
    posterior_against_hmc,
    posterior_of_datum,
    posterior_ranks,
    prior_samples,
    refinement_trace,
    report,
    students_against_teacher,
    transfer_matrix,
)

__all__ = [
    "AggregateCalibration",
    "AttentionMaps",
    "CodeUsage",
    "ConfusionMatrix",
    "CrossGeneration",
    "KLPerDimension",
    "LatentMeans",
    "PosteriorAgainstHMC",
    "PosteriorOfDatum",
    "PriorSamples",
    "RefinementTrace",
    "RobustnessCurves",
    "StudentsAgainstTeacher",
    "TOCCurve",
    "aggregate_calibration",
    "attention_maps",
    "canonical_bars",
    "code_usage",
    "coherence_heatmap",
    "comparison",
    "comparison_report",
    "confusion_matrix",
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
    "robustness_curves",
    "students_against_teacher",
    "toc_curve",
    "transfer_matrix",
]
