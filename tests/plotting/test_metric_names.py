"""What metrics are called, and the tables of those that classifiers and codebooks have."""

from __future__ import annotations

import re

import pytest
import torch

from mmvae.classifiers.metrics import classification_scores
from mmvae.evaluation import OBSERVED, Evaluation, make_row, metric_words
from mmvae.evaluation.retrieval import retrieve, retrieve_in_episodes
from mmvae.plotting.reports.page import Page
from mmvae.plotting.reports.score_tables import write_scores
from mmvae.words import Words

LABELS = torch.arange(20) % 5


def names_of_scores() -> set[str]:
    points = torch.eye(5)[LABELS]
    found = retrieve(points, LABELS, points, LABELS) | retrieve_in_episodes(points, LABELS, points, LABELS)
    labelled = classification_scores(points, points)
    return {f"retrieval_{name}" for name in found} | set(labelled) | set(classification_scores(points, LABELS))


def test_scores_have_names_meanings_and_a_good_end() -> None:
    assert len(names_of_scores()) == 10
    for metric in names_of_scores():
        words = metric_words(metric)
        assert words.heading != metric
        assert words.meaning.endswith(".")
        assert words.better == "higher"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_owners_are_counted_in_words(count: int) -> None:
    assert re.fullmatch(
        r"Codes owned by (one|two|three|four) modalit(y|ies)", metric_words(f"codebook_owned_by_{count}").title
    )


def test_unknown_metrics_are_called_what_they_are() -> None:
    assert metric_words("my_own") == Words("my_own", "my_own")


def test_tables_of_a_classifier_and_of_a_codebook() -> None:
    page = Page("t", "s")
    page.section("Evaluation")
    rows = [make_row("accuracy", 0.25, OBSERVED)]
    rows += [make_row("accuracy", value, given) for value, given in ((0.5, "a"), (0.75, "b"), (0.875, "a+b"))]
    rows += [make_row("codebook_usage", 0.125, target="a"), make_row("codebook_usage", 0.625)]
    rows += [make_row("codebook_agreement", 0.375, "a", "b"), make_row("codebook_agreement", 0.0625, "a+b+c")]
    rows += [make_row("transfer", 0.9375, "a", "b"), make_row("transfer_mean", 0.03125)]
    write_scores(page, Evaluation(rows))
    text = re.sub(r"<[^>]+>", " ", page.html())
    assert text.index("0.5") < text.index("0.875") < text.index("0.25 ")
    for expected in ("Accuracy", "observed", "Codes in use", "Agreement of codes", "Transfer, mean"):
        assert expected in text
    assert re.search(r"Codes in use\s+a\s+0\.125", text)
    assert re.search(r"Codes in use\s+all\s+0\.625", text)
    assert re.search(r"a\+b\+c\s+(\S+\s+)?0\.0625", text)
