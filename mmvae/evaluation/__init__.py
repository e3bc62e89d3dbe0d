"""Evaluation: how good inference and generation are, for every subset of the modalities."""

from mmvae.evaluation.classifiers import Classifier, train_classifiers
from mmvae.evaluation.comparison import Comparison, compare
from mmvae.evaluation.context import Context
from mmvae.evaluation.frechet import frechet_distance
from mmvae.evaluation.pareto import effective_sample_size, pareto_k
from mmvae.evaluation.results import Evaluation, Row, Unavailable, make_row
from mmvae.evaluation.suite import METRICS, Metric, evaluate

__all__ = [
    "METRICS",
    "Classifier",
    "Comparison",
    "Context",
    "Evaluation",
    "Metric",
    "Row",
    "Unavailable",
    "compare",
    "effective_sample_size",
    "evaluate",
    "frechet_distance",
    "make_row",
    "pareto_k",
    "train_classifiers",
]
