"""Names and generated texts are drawn as they are: no dollar sign makes TeX of them."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from mmvae import Batch, Modality, data, likelihoods, models
from mmvae import plotting as plot
from mmvae.evaluation import Evaluation, make_row

WORDS = ("$5 a $6", "a$_^$b", "$", r"\$x$", "^{", r"\frac", "50 % & #1", "a_b", "x $\\alpha$")
NAMES = ("$a$", "b$_^$")
SCORES = [make_row("coherence", 0.5, (NAMES[0],), NAMES[1]), make_row("coherence", 1.0, (NAMES[1],), NAMES[0])]


def texts(figure: Figure) -> list[str]:
    figure.savefig("/dev/null", format="png")
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and "$" in text.get_text()]
    assert all(not text.get_parse_math() for text in found)
    return [text.get_text() for text in found]


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return models.MVAE(
        [Modality(NAMES[0], (8,), likelihoods.Categorical(71)), Modality(NAMES[1], (3,), likelihoods.Normal())], 2
    )


def batch() -> Batch:
    codes = data.encode([word[:8] for word in WORDS])
    return Batch({NAMES[0]: codes, NAMES[1]: torch.randn(len(WORDS), 3)}, labels=[f"${word}$" for word in WORDS])


def test_generated_text_is_drawn_as_it_is(model: Any) -> None:
    arrays = plot.CrossGeneration.of(model, batch())
    drawn = texts(plot.cross_generation(arrays, render={NAMES[0]: lambda codes: data.decode(codes[None])[0]}))
    assert "$5 a $6" in drawn
    assert any(NAMES[0] in each for each in drawn)


def test_names_of_modalities_and_classes_are_drawn_as_they_are(model: Any) -> None:
    given = batch()
    means = plot.LatentMeans.of(model, given)
    assert {"$a$", "b$_^$", "$a$+b$_^$"} <= set(texts(plot.latent_means(means)))
    assert any("5 a" in each for each in texts(plot.latent_map(means)))
    assert texts(plot.kl_per_dimension(plot.KLPerDimension.of(model, given)).figure)
    assert texts(plot.posterior_of_datum(plot.PosteriorOfDatum.of(model, given)).figure)
    assert texts(plot.aggregate_calibration(plot.AggregateCalibration.of(model, given)).figure)


@pytest.mark.parametrize("own_axes", [False, True])
def test_scores_and_curves_on_axes_of_ones_own(own_axes: bool) -> None:
    def ax() -> Any:
        return Figure().subplots() if own_axes else None

    assert set(NAMES) <= set(texts(plot.coherence_heatmap(SCORES, ax=ax()).figure))
    assert set(NAMES) <= set(texts(plot.comparison({"m": Evaluation(SCORES)}, "coherence", ax=ax()).figure))
    metrics = [{"epoch": 1, "split": "train", "loss": 1.0, NAMES[0]: 2.0}]
    assert texts(plot.elbo_curve(metrics, NAMES[0], ax=ax()).figure)
    pairs = {"after": {NAMES[0]: np.array([0.5, 0.25])}}
    assert NAMES[0] in texts(plot.canonical_bars(pairs, ax=ax()).figure)


def test_tex_that_the_user_has_switched_on_is_not_used() -> None:
    with matplotlib.rc_context({"text.usetex": True}):
        figure = plot.elbo_curves([{"epoch": 1, "split": "train", "loss": 1.0, "a_b$": 2.0}])
        figure.savefig("/dev/null", format="png")


def test_the_report_shows_every_string(model: Any, tmp_path: Any) -> None:
    page = plot.report(tmp_path, model, batch(), render={NAMES[0]: lambda codes: data.decode(codes[None])[0]})
    assert "Left out" not in page.read_text()
