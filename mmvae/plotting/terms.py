"""What the terms of a loss are called, and what they are measured in."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from mmvae.plotting.counts import modalities


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
