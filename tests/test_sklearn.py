"""The transformer of scikit-learn: its own checks, groups of columns, and what NaN means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import mmvae
from mmvae import likelihoods
from mmvae.sklearn import MultimodalEncoder

QUICK: dict[str, Any] = {"latent_dim": 2, "epochs": 2, "random_state": 0}
GROUPS = {"labs": slice(0, 3), "scores": [4, 3]}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([MultimodalEncoder(**QUICK)])
def test_it_passes_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def rows(count: int = 80, holes: float = 0.2) -> np.ndarray:
    """Five columns of two hidden factors, on different scales; some numbers are missing, and one row as a whole."""
    generator = np.random.default_rng(0)
    table = generator.normal(size=(count, 2)) @ generator.normal(size=(2, 5)) * [1, 10, 0.1, 1, 100] + 3
    table[generator.random(table.shape) < holes] = np.nan
    table[7] = np.nan
    return table


def test_groups_are_modalities() -> None:
    encoder = MultimodalEncoder(GROUPS, **QUICK).fit(rows())
    assert encoder.model_.names == ("labs", "scores")
    assert encoder.columns_ == {"labs": [0, 1, 2], "scores": [4, 3]}
    one = np.delete(rows(), 7, 0)
    batch = {"labs": torch.from_numpy(one[:, :3]), "scores": torch.from_numpy(one[:, [4, 3]])}
    known = ~np.isnan(one).all(1)
    expected = mmvae.infer(encoder.model_, batch, missing="nan").mean.numpy()
    np.testing.assert_allclose(encoder.transform(one)[known], expected[known], rtol=1e-4, atol=1e-5)


def test_a_row_without_any_number_gets_the_mean_of_the_prior() -> None:
    encoder = MultimodalEncoder(GROUPS, **QUICK).fit(rows())
    latent = encoder.transform(rows())
    assert np.isfinite(latent).all()
    assert (latent[7] == 0).all()
    without = np.delete(rows(), 7, 0)
    again = MultimodalEncoder(GROUPS, **QUICK).fit(without)
    np.testing.assert_allclose(again.transform(without), np.delete(latent, 7, 0), rtol=1e-5, atol=1e-6)
    assert again.score(without) == pytest.approx(encoder.score(rows()))


def test_columns_of_a_table_are_named() -> None:
    table = pd.DataFrame(rows(), columns=["sodium", "potassium", "urea", "mood", "sleep"])
    groups = {"labs": ["sodium", "potassium", "urea"], "scores": ["sleep", "mood"]}
    encoder = MultimodalEncoder(groups, **QUICK).set_output(transform="pandas").fit(table)
    assert encoder.columns_ == {"labs": [0, 1, 2], "scores": [4, 3]}
    latent = encoder.transform(table)
    assert list(latent.columns) == ["multimodalencoder0", "multimodalencoder1"]
    plain = MultimodalEncoder(GROUPS, **QUICK).fit_transform(rows())
    np.testing.assert_allclose(latent.to_numpy(), plain, rtol=1e-6)


def test_columns_outside_of_all_groups_change_nothing() -> None:
    encoder = MultimodalEncoder({"labs": [0, 1]}, **QUICK).fit(rows())
    changed = rows()
    changed[:, 2:] = 0
    np.testing.assert_array_equal(encoder.transform(changed)[:5], encoder.transform(rows())[:5])


def test_pipelines_and_searches() -> None:
    table, generator = rows(120), np.random.default_rng(1)
    classes = generator.integers(2, size=120)
    pipeline = make_pipeline(FunctionTransformer(), MultimodalEncoder(GROUPS, **QUICK), LogisticRegression())
    assert pipeline.fit(table, classes).predict(table).shape == (120,)
    search = GridSearchCV(
        MultimodalEncoder(GROUPS, **QUICK), {"latent_dim": [1, 3], "model": ["MVTCAE", "MoPoE"]}, cv=2
    )
    search.fit(table)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.transform(table).shape == (120, search.best_params_["latent_dim"])


def test_the_score_is_the_mean_elbo_and_rises_with_training() -> None:
    table = rows(300, holes=0.1)
    short, long = (
        MultimodalEncoder(GROUPS, latent_dim=2, epochs=epochs, random_state=0, lr=3e-3).fit(table[:200])
        for epochs in (1, 30)
    )
    before = torch.get_rng_state()
    scores = [encoder.score(table[200:]) for encoder in (short, long, long)]
    assert scores[1] == scores[2] > scores[0] + 1
    assert torch.equal(torch.get_rng_state(), before)
    latent = long.transform(table[200:])
    factors = np.random.default_rng(0).normal(size=(300, 2))[200:]
    design = np.column_stack([latent, np.ones(100)])
    residual = factors - design @ np.linalg.lstsq(design, factors, rcond=None)[0]
    assert residual.var() < 0.5 * factors.var()


def test_seeds_decide() -> None:
    encoders = [MultimodalEncoder(GROUPS, **{**QUICK, "random_state": seed}) for seed in (0, 0, 1)]
    found = [encoder.fit_transform(rows()) for encoder in encoders]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])
    np.testing.assert_array_equal(clone(encoders[0]).fit_transform(rows()), found[0])


def test_counts_have_their_likelihood() -> None:
    counts = np.random.default_rng(0).poisson(4, (40, 5)).astype(float)
    counts[0, 0] = np.nan
    counts[:, 3:] += 0.5
    encoder = MultimodalEncoder(GROUPS, likelihoods={"labs": likelihoods.NegativeBinomial()}, **QUICK).fit(counts)
    assert isinstance(encoder.model_.likelihoods["labs"], likelihoods.NegativeBinomial)
    assert encoder.transform(counts).shape == (40, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"labs": [0, 9]}}, r"groups: 'labs' has the column 9, and X has the columns 0 to 4"),
        ({"groups": {"labs": ["age"]}}, r"groups: 'labs' has the column 'age', and X has no names of columns"),
        ({"groups": {"labs": [0, 0]}}, r"groups: 'labs' needs at least one column, each once, got \[0, 0\]"),
        ({"groups": {}}, r"groups: expected a dict from names to columns, got \{\}"),
        ({"model": "LateFusion"}, r"model: expected the name of a VAE in mmvae.models, such as \"MVTCAE\""),
        (
            {"likelihoods": {"labs": likelihoods.Normal()}},
            r"likelihoods: 'labs' is not a group; choose among 'columns'",
        ),
    ],
)
def test_errors_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultimodalEncoder(**{**QUICK, **options}).fit(rows())


def test_nothing_but_holes_is_refused() -> None:
    empty = np.full((5, 3), np.nan)
    with pytest.raises(ValueError, match=r"X: n_samples=0 of the 5 rows have a number in any group"):
        MultimodalEncoder(**QUICK).fit(empty)
    encoder = MultimodalEncoder(**QUICK).fit(np.random.default_rng(0).normal(size=(9, 3)))
    with pytest.raises(ValueError, match="no row has a number in any group, so there is nothing to score"):
        encoder.score(empty)
