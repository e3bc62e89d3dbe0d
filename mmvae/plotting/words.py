"""What the metrics of an evaluation are called in reports, and which end of them is the good one."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

_WORDS = {"1": "one modality", "2": "two modalities", "3": "three modalities", "4": "four modalities"}


def modalities(count: int | str) -> str:
    """``"one modality"``, ``"two modalities"``, ...; beyond four in figures."""
    return _WORDS.get(str(count), f"{count} modalities")


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
    "accuracy": MetricName("Accuracy", "Share of data whose class the model predicts rightly.", 1),
    "f1_micro": MetricName("F1 (micro)", "Of all labels together, each predicted above a probability of one half.", 1),
    "f1_macro": MetricName("F1 (macro)", "Mean over classes or labels of their F1.", 1),
    "auroc": MetricName(
        "AUROC", "How often a datum with the label gets a higher score than one without; the mean over labels.", 1
    ),
    "linear_probe": MetricName(
        "Linear probe (few labels)", "Accuracy of a linear classifier that was fitted on a few posterior means.", 1
    ),
    "linear_probe_all": MetricName(
        "Linear probe", "Accuracy of a linear classifier that was fitted on posterior means.", 1
    ),
    "linear_probe_protocol": MetricName(
        "Linear probe (protocol)", "With few labels, on latents that are not standardised: the published protocol.", 1
    ),
    "cosine": MetricName(
        "Cosine", "Similarity of the posterior mean to that from all modalities of the same datum.", 1
    ),
    "cosine_shuffled": MetricName("Cosine, shuffled", "The same between different data: what chance gives.", 0),
    "canonical_correlation": MetricName(
        "Canonical correlation",
        "Mean canonical correlation of the latents from two single modalities of the same datum.",
        1,
    ),
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
    "codebook_usage": MetricName("Codes in use", "Share of the codebook that occurs.", 0),
    "codebook_perplexity": MetricName(
        "Perplexity of the codes", "How many codes are in use, if all were used equally.", 0
    ),
    **{
        f"codebook_owned_by_{count}": MetricName(
            f"Codes owned by {modalities(count)}", "Share of the codes in use that so many modalities use.", 0
        )
        for count in range(1, 5)
    },
    "codebook_agreement": MetricName(
        "Agreement of codes", "Share of data with the same code from one modality and from the other.", 1
    ),
    "codebook_nmi": MetricName("Codes and classes (NMI)", "Normalised mutual information of code and class.", 1),
    "codebook_purity": MetricName("Purity of codes", "Share of data in the most common class of their code.", 1),
    "codebook_divergence": MetricName(
        "Divergence of codes (nats)", "Jensen-Shannon divergence between the modalities' codes of the same class.", -1
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
    "retrieval_r1": MetricName("Retrieval R@1", "Share of queries whose first item is of their class.", 1),
    "retrieval_r5": MetricName("Retrieval R@5", "Share of queries with an item of their class among the first 5.", 1),
    "retrieval_r10": MetricName(
        "Retrieval R@10", "Share of queries with an item of their class among the first 10.", 1
    ),
    "retrieval_map": MetricName("Retrieval mAP", "Mean average precision over the whole gallery.", 1),
    "retrieval_episode_r1": MetricName(
        "Retrieval R@1, one item of each class", "Share of queries whose first item is of their class.", 1
    ),
    "retrieval_episode_r3": MetricName(
        "Retrieval R@3, one item of each class", "Share of queries with the item of their class among the first 3.", 1
    ),
    "transfer": MetricName(
        "Transfer", "Accuracy on the target of a classifier that was fitted on the latents of the given modality.", 1
    ),
    "transfer_mean": MetricName("Transfer, mean", "Over all ordered pairs of different modalities.", 1),
    "transfer_ratio": MetricName(
        "Transfer, ratio", "Accuracy over that of the target's own classifier, the mean over all pairs.", 1
    ),
    "amortization_gap": MetricName(
        "Amortisation gap (nats)",
        "By how much the best Gaussian for each datum has a higher ELBO than the posterior of the model.",
        -1,
    ),
    "approximation_gap": MetricName(
        "Approximation gap (nats)",
        "By how much the log-likelihood is above the ELBO of the best Gaussian for each datum.",
        -1,
    ),
    "initial_gap": MetricName(
        "Gap before refinement (nats)",
        "By how much the best Gaussian for each datum has a higher ELBO than the posterior before refinement.",
        -1,
    ),
    "refinement_gain": MetricName(
        "Gain of refinement (nats)", "By how much the model's own refinement raises the ELBO.", 0
    ),
    "refinement_gain_weighted": MetricName(
        "Gain of refinement (weighted)",
        "By how much the model's own refinement raises the bound of training, which it climbs.",
        0,
    ),
    "closed_share": MetricName(
        "Share of the gap closed", "Gain of refinement over the gap before it, 1 if nothing remains.", 1
    ),
    "student_kl": MetricName(
        "KL from teacher to student (nats)",
        "Divergence of the posterior from one modality from that of all modalities of the same datum.",
        -1,
    ),
    "student_mean_distance": MetricName(
        "Distance of student and teacher",
        "Between the posterior means from one and from all modalities, in standard deviations of the former.",
        0,
    ),
    "student_scale_ratio": MetricName(
        "Scale of student over teacher",
        "How many times wider the posterior from one modality is than that from all.",
        0,
    ),
}


def metric_name(metric: str) -> MetricName:
    """A metric in words; one that the library does not know is called what it is, and neither end is the good one."""
    return _METRICS.get(metric, MetricName(metric, "", 0))


class Term(NamedTuple):
    """A term in words.

    Attributes:
        heading: of its panel.
        unit: of its axis.
    """

    heading: str
    unit: str


_NATS = "nats per datum"
_ERROR, _INFORMATION = "mean squared error", "nats"

_TERMS = {
    "elbo": Term("ELBO", _NATS),
    "kl": Term("KL from the prior", _NATS),
    "task": Term("Loss of the task", _NATS),
    "accuracy": Term("Accuracy", "share predicted rightly"),
    "cca": Term("CCA loss", "minus the mean correlation"),
    "correlation_before": Term("Before the attention", "canonical correlation"),
    "correlation_after": Term("After the attention", "canonical correlation"),
    "alignment": Term("Alignment of proxies", "mean distance"),
    "commitment": Term("Commitment", _ERROR),
    "reconstruction": Term("Reconstruction", "mean error"),
    "reconstruction_fine": Term("Reconstruction, fine", _ERROR),
    "reconstruction_coarse": Term("Reconstruction, coarse", _ERROR),
    "readout": Term("Readout", _ERROR),
    "club": Term("CLUB bound", _INFORMATION),
    "cpc": Term("Cross-CPC", _INFORMATION),
    "matching": Term("Code matching", _INFORMATION),
    "coarse_alignment": Term("Coarse alignment", _INFORMATION),
    "perplexity": Term("Perplexity of the codes", "codes in equal use"),
    "usage": Term("Codes in use", "share of the codebook"),
}


def describe_term(term: str, recorded: Collection[str]) -> Term:
    """A recorded term in words; one that the library does not know is called what it is.

    Args:
        term: its column.
        recorded: all that was recorded with it, which tells the kinds of models apart: the terms of a bound on a
            likelihood are in nats.
    """
    is_bound = "elbo" in recorded
    if term == "loss":
        return Term("Training loss", _NATS if is_bound else "mean over the data")
    if is_bound and term not in ("elbo", "kl"):
        return Term(term, _NATS)
    if term.startswith("class_variance_"):
        return Term(f"Class token, {term.removeprefix('class_variance_')}", "variance of a feature")
    if term.startswith("used_by_"):
        return Term(f"Used by {modalities(term.removeprefix('used_by_'))}", "share of the codes in use")
    return _TERMS.get(term, Term(term, "mean over the data"))
