"""What the metrics of an evaluation are called in reports, and which end of them is the good one."""

from __future__ import annotations

from typing import NamedTuple


class MetricName(NamedTuple):
    """A metric in words.

    Attributes:
        name: for headings.
        meaning: a sentence for readers.
        better: 1 if higher is better, -1 if lower is, 0 if neither.
    """

    name: str
    meaning: str
    better: int


_METRICS = {
    "linear_probe": MetricName(
        "Linear probe (few labels)", "Accuracy of a linear classifier that was fitted on a few posterior means.", 1
    ),
    "linear_probe_all": MetricName(
        "Linear probe", "Accuracy of a linear classifier that was fitted on posterior means.", 1
    ),
    "cosine": MetricName(
        "Cosine", "Similarity of the posterior mean to that from all modalities of the same datum.", 1
    ),
    "cosine_shuffled": MetricName("Cosine, shuffled", "The same between different data: what chance gives.", 0),
    "elbo": MetricName("ELBO (nats)", "Evidence lower bound of the modalities of the subset.", 1),
    "log_likelihood": MetricName(
        "Log-likelihood (nats)", "Importance-sampled log p of the modalities of the subset, per datum.", 1
    ),
    "conditional_log_likelihood": MetricName(
        "Conditional log-likelihood (nats)", "Log p of the target given the modalities of the subset, per datum.", 1
    ),
    "active_units": MetricName(
        "Active units", "Latent dimensions whose posterior mean varies over the data by more than 0.01.", 0
    ),
    "classifier_accuracy": MetricName(
        "Accuracy of the judges", "Of the classifiers on real data: the ceiling of coherence.", 0
    ),
    "coherence": MetricName(
        "Coherence", "Share of generated data that a classifier puts in the class of what was given.", 1
    ),
    "joint_coherence": MetricName(
        "Joint coherence", "Share of draws from the prior on which the classifiers of all modalities agree.", 1
    ),
    "classifier_feature_fd": MetricName(
        "Fréchet distance (classifier)",
        "Between features of generated and of real data, in the classifiers' space.",
        -1,
    ),
    "fid": MetricName("FID", "Fréchet distance between Inception features of generated and of real images.", -1),
}


def metric_name(metric: str) -> MetricName:
    """A metric in words; one that the library does not know is called what it is, and neither end is the good one."""
    return _METRICS.get(metric, MetricName(metric, "", 0))
