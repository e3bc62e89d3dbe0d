"""Figures of training, posteriors, generations and evaluations; the report of a run.

Computing and drawing are apart: ``plot.kl_per_dimension(plot.KLPerDimension.of(model, data))``. Drawing functions give
Axes or a Figure, save nothing, and leave pyplot and its settings alone.
"""

from mmvae.plotting.attention import AttentionMaps
from mmvae.plotting.attention_picture import attention_maps
from mmvae.plotting.calibration import AggregateCalibration, aggregate_calibration
from mmvae.plotting.canonical import canonical_bars
from mmvae.plotting.code_usage import CodeUsage, code_usage
from mmvae.plotting.comparison_report import comparison_report
from mmvae.plotting.confusion import ConfusionMatrix, confusion_matrix
from mmvae.plotting.curves import elbo_curve, elbo_curves
from mmvae.plotting.gaps import inference_gaps
from mmvae.plotting.generation import CrossGeneration, PriorSamples, cross_generation, prior_samples
from mmvae.plotting.kept_dimensions import TOCCurve, toc_curve
from mmvae.plotting.latent_map import latent_map
from mmvae.plotting.latent_means import LatentMeans, latent_means
from mmvae.plotting.posterior_against_hmc import PosteriorAgainstHMC, posterior_against_hmc
from mmvae.plotting.posteriors import KLPerDimension, PosteriorOfDatum, kl_per_dimension, posterior_of_datum
from mmvae.plotting.refinement_trace import RefinementTrace, refinement_trace
from mmvae.plotting.robustness import RobustnessCurves, robustness_curves
from mmvae.plotting.run_report import report
from mmvae.plotting.scores import coherence_heatmap, comparison
from mmvae.plotting.students import StudentsAgainstTeacher, students_against_teacher
from mmvae.plotting.transfer import transfer_matrix

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
    "prior_samples",
    "refinement_trace",
    "report",
    "robustness_curves",
    "students_against_teacher",
    "toc_curve",
    "transfer_matrix",
]
