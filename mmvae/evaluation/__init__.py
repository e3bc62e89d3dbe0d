"""Evaluation: how good inference and generation are, for every subset of the modalities."""

from mmvae.evaluation.classifiers import Classifier, train_classifiers
from mmvae.evaluation.comparison import Comparison, compare
from mmvae.evaluation.context import Context
from mmvae.evaluation.frechet import frechet_distance
from mmvae.evaluation.pareto import effective_sample_size, pareto_k
from mmvae.evaluation.results import Evaluation, Row, Unavailable, make_row
from mmvae.evaluation.seeds import across_seeds, paired_differences
from mmvae.evaluation.suite import COSTLY, METRICS, Metric, evaluate

__all__ = [
    "COSTLY",
    "METRICS",
    "Classifier",
    "Comparison",
    "Context",
    "Evaluation",
    "Metric",
    "Row",
    "Unavailable",
    "across_seeds",
    "compare",
    "effective_sample_size",
    "evaluate",
    "frechet_distance",
    "make_row",
    "paired_differences",
    "pareto_k",
    "train_classifiers",
]
