"""Training curves show the metrics as they are."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from mmvae import Batch, models, plot
from mmvae.words import term_words

ROWS: list[dict[str, Any]] = [
    {"epoch": epoch, "split": split, "loss": 10.0 / epoch + shift, "elbo": -9.0 / epoch, "kl": 1.0, "seconds": 0.5}
    for epoch in (1, 2, 3)
    for split, shift in (("train", 0.0), ("validation", 1.0))
]


def test_lines_are_the_metrics_training_solid_validation_dashed() -> None:
    ax = plot.elbo_curve(ROWS, "loss")
    train, validation = ax.get_lines()
    assert (train.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    np.testing.assert_array_equal(train.get_xydata(), [(1, 10.0), (2, 5.0), (3, 10 / 3)])
    np.testing.assert_array_equal(validation.get_ydata(), [11.0, 6.0, 10 / 3 + 1])
    assert ax.get_ylabel() == "nats per datum"


def test_a_panel_per_term_and_none_for_seconds() -> None:
    figure = plot.elbo_curves(ROWS)
    assert isinstance(figure, Figure)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Training loss", "ELBO", "KL from the prior"]


def test_the_file_gives_the_same_curves_as_the_rows(tmp_path: Path) -> None:
    with open(tmp_path / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    from_file = plot.elbo_curve(tmp_path / "metrics.csv", "kl").get_lines()[0].get_xydata()
    np.testing.assert_array_equal(from_file, plot.elbo_curve(ROWS, "kl").get_lines()[0].get_xydata())


def test_draws_on_the_axes_it_is_given() -> None:
    ax = Figure().subplots()
    assert plot.elbo_curve(ROWS, "elbo", ax) is ax


def test_a_single_epoch_shows_as_a_point() -> None:
    (line,) = plot.elbo_curve(ROWS[:1], "loss").get_lines()
    assert line.get_marker() == "o"


def test_axes_say_what_terms_are_measured_in() -> None:
    units = {term: term_words(term, ("loss", "accuracy", term)).unit for term in ("loss", "accuracy", "perplexity")}
    assert units == {
        "loss": "mean over the data",
        "accuracy": "share predicted rightly",
        "perplexity": "codes in equal use",
    }
    assert term_words("used_by_2", ()).heading == "Used by two modalities"
    assert term_words("used_by_5", ()).heading == "Used by 5 modalities"
    assert term_words("class_variance_image", ()).heading == "Class token, image"
    assert term_words("alignment", ("elbo", "alignment")).unit == "nats per datum"  # of a bound
    assert term_words("alignment", ("loss", "alignment")).unit == "mean distance"
    assert term_words("usage", ("elbo", "usage")).heading == "usage"  # a modality of that name


def test_neighbours_of_different_units_are_labelled_each() -> None:
    rows = [{"epoch": 1, "split": "train", "loss": 2.0, "cpc": 1.0, "club": 1.0, "usage": 0.5, "used_by_1": 1.0}]
    labels = [ax.get_ylabel() for ax in plot.elbo_curves(rows).axes[:5]]
    assert labels == ["mean over the data", "nats", "", "share of the codebook", "share of the codes in use"]


def test_every_term_that_models_record_has_a_name(classifier: Any, codebook: Any, pair: Batch) -> None:
    molt = models.MoLT({name: classifier.encoder(name) for name in pair.names}, 3, common_dim=2, fusion_dim=8)
    fcid = models.FCID({"picture": codebook.step("picture")}, {"codes": codebook.step("codes")}, code_dim=4, heads=2)
    for model in (classifier, codebook, molt, fcid):
        terms = copy.deepcopy(model).loss(pair).terms
        assert [name for name in terms if term_words(name, terms).heading == name] == []


def test_unknown_terms_and_empty_metrics_are_refused() -> None:
    with pytest.raises(ValueError, match="no column 'svhn'; there are 'loss', 'elbo', 'kl'"):
        plot.elbo_curve(ROWS, "svhn")
    with pytest.raises(ValueError, match="no rows"):
        plot.elbo_curves([])


def test_the_stage_of_a_row_is_no_curve(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "split": "train", "stage": "joint", "loss": 1 / epoch} for epoch in (1, 2)]
    (tmp_path / "metrics.csv").write_text("epoch,split,stage,loss\n1,train,joint,1.0\n2,train,joint,0.5\n")
    for metrics in (rows, tmp_path / "metrics.csv"):
        assert [ax.get_title(loc="left") for ax in plot.elbo_curves(metrics).axes] == ["Training loss"]
