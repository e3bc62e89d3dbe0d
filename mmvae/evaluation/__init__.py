"""Evaluation: how good inference and generation are, for every subset of the modalities."""

from mmvae.evaluation.classification import classification_scores
from mmvae.evaluation.classifiers import Classifier, train_classifiers
from mmvae.evaluation.codebook import code_agreement, code_divergence, code_information, code_purity
from mmvae.evaluation.comparison import Comparison, compare
from mmvae.evaluation.context import Context
from mmvae.evaluation.frechet import frechet_distance
from mmvae.evaluation.pareto import effective_sample_size, pareto_k
from mmvae.evaluation.ranking import expected_average_precision, expected_recall
from mmvae.evaluation.results import OBSERVED, Evaluation, OtherKind, Row, Unavailable, make_row
from mmvae.evaluation.retrieval import retrieve, retrieve_in_episodes
from mmvae.evaluation.seeds import across_seeds, paired_differences
from mmvae.evaluation.suite import COSTLY, METRICS, Metric, evaluate
from mmvae.evaluation.transfer import Transfer, transfer_matrix
from mmvae.evaluation.transfer_heads import Head, Labelled, LogisticHead, StepHead, flattened, pooled

__all__ = [
    "COSTLY",
    "METRICS",
    "OBSERVED",
    "Classifier",
    "Comparison",
    "Context",
    "Evaluation",
    "Head",
    "Labelled",
    "LogisticHead",
    "Metric",
    "OtherKind",
    "Row",
    "StepHead",
    "Transfer",
    "Unavailable",
    "across_seeds",
    "classification_scores",
    "code_agreement",
    "code_divergence",
    "code_information",
    "code_purity",
    "compare",
    "effective_sample_size",
    "evaluate",
    "expected_average_precision",
    "expected_recall",
    "flattened",
    "frechet_distance",
    "make_row",
    "paired_differences",
    "pareto_k",
    "pooled",
    "retrieve",
    "retrieve_in_episodes",
    "train_classifiers",
    "transfer_matrix",
]
