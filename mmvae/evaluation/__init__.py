"""Evaluation: how good inference and generation are, for every subset of the modalities.

Metrics of classifiers and codebooks live with them, and join the others when they are loaded.
"""

import importlib
import pkgutil
from typing import Any

from mmvae.evaluation.across_seeds import across_seeds, paired_differences
from mmvae.evaluation.comparison import Comparison, compare
from mmvae.evaluation.context import Context
from mmvae.evaluation.cross_validation import CrossValidation, cross_validate
from mmvae.evaluation.deviations import Deviation, deviation
from mmvae.evaluation.frechet import frechet_distance
from mmvae.evaluation.judges import Classifier, train_classifiers
from mmvae.evaluation.pareto import effective_sample_size, pareto_k
from mmvae.evaluation.posterior_calibration import Ranks, simulation_based_calibration
from mmvae.evaluation.recovery import mean_correlation
from mmvae.evaluation.registry import METRICS, Measure, Metric, costly_metrics, metric, metric_words
from mmvae.evaluation.results import OBSERVED, Evaluation, OtherKind, Row, Unavailable, make_row
from mmvae.evaluation.retrieval import expected_average_precision, expected_recall, retrieve, retrieve_in_episodes
from mmvae.evaluation.suite import evaluate
from mmvae.evaluation.transfer import (
    Head,
    Labelled,
    LogisticHead,
    StepHead,
    Transfer,
    flattened,
    pooled,
    transfer_matrix,
)
from mmvae.families import load
from mmvae.words import Words

__all__ = [
    "METRICS",
    "OBSERVED",
    "Classifier",
    "Comparison",
    "Context",
    "CrossValidation",
    "Deviation",
    "Evaluation",
    "Head",
    "Labelled",
    "LogisticHead",
    "Measure",
    "Metric",
    "OtherKind",
    "Ranks",
    "Row",
    "StepHead",
    "Transfer",
    "Unavailable",
    "Words",
    "across_seeds",
    "classification_scores",
    "code_agreement",
    "code_divergence",
    "code_information",
    "code_purity",
    "compare",
    "costly_metrics",
    "cross_validate",
    "deviation",
    "effective_sample_size",
    "evaluate",
    "expected_average_precision",
    "expected_recall",
    "flattened",
    "frechet_distance",
    "make_row",
    "mean_correlation",
    "metric",
    "metric_words",
    "paired_differences",
    "pareto_k",
    "pooled",
    "retrieve",
    "retrieve_in_episodes",
    "simulation_based_calibration",
    "train_classifiers",
    "transfer_matrix",
]

for _module in pkgutil.iter_modules(__path__):  # a metric joins the others by being in this package
    importlib.import_module(f"{__name__}.{_module.name}")
load("metrics")


def __getattr__(name: str) -> Any:
    """Public functions beside the metrics of families, such as ``classification_scores``."""
    for module in load("metrics"):
        if name in module.__all__:
            return getattr(module, name)
    raise AttributeError(f"module 'mmvae.evaluation' has no attribute {name!r}")
