"""The posterior of a datum against the true one, where it is known and far from any diagonal Gaussian."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pyro
import pytest
import torch
from matplotlib.patches import Ellipse
from refinement.parts import YARDSTICK

from mmvae import Batch, models, plot
from mmvae.plotting.figures.posterior_moments import gaussian_kl
from mmvae.refinement import HMC, Gradient
from mmvae.testing import LinearGaussian

DATA = YARDSTICK.sample(2)
FEW = HMC(4, warmup=2)
QUICK = {"ascent": Gradient(2), "hmc": FEW}


def product() -> models.MVAE:
    torch.manual_seed(0)
    return models.MVAE(YARDSTICK.modalities(), 3)


@pytest.mark.slow
def test_draws_are_those_of_the_true_posterior() -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    with pyro.validation_enabled(False):
        arrays = plot.PosteriorAgainstHMC.of(product(), DATA, row=1, hmc=HMC(100), ascent=Gradient(50))
    exact = YARDSTICK.posterior({name: x[[1]] for name, x in DATA.items()})
    (kept,) = arrays.dimensions
    draws = arrays.draws[:, 0]  # [K, 2]
    assert draws.shape == (400, 2)
    assert arrays.r_hat < 1.1
    assert arrays.effective_sample_size > 20
    mean, covariance = exact.mean[0].numpy()[kept], exact.covariance_matrix[0].numpy()[np.ix_(kept, kept)]
    error = np.sqrt(covariance.diagonal() / arrays.effective_sample_size)
    assert (np.abs(draws.mean(0) - mean) < 4 * error).all()
    ratio = draws.var(0) / covariance.diagonal()
    assert (np.abs(ratio - 1) < 4 * np.sqrt(2 / arrays.effective_sample_size)).all()
    optimum = YARDSTICK.mean_field({name: x[[1]] for name, x in DATA.items()})
    assert arrays.names == ["posterior of the model", "gradient ascent"]
    np.testing.assert_allclose(arrays.mean[1, 0], optimum.mean[0].numpy()[kept], atol=0.01)
    np.testing.assert_allclose(arrays.scale[1, 0], optimum.stddev[0].numpy()[kept], rtol=0.02)


def test_before_and_after_are_those_of_the_model() -> None:
    torch.manual_seed(0)
    model = models.IterativeVAE(YARDSTICK.modalities(), 3, num_steps=2, trunk_width=8, hidden=8, refinement_hidden=8)
    arrays = plot.PosteriorAgainstHMC.of(model, DATA, steps=4, **QUICK)
    assert arrays.names == ["before refinement", "after 4 steps of the network", "gradient ascent"]
    datum = model.eval().prepare({name: x[:1] for name, x in DATA.items()})
    iterates = model.refinement_path(datum, 4)[1].iterates
    (kept,) = arrays.dimensions
    for place, each in enumerate((iterates[0], iterates[-1])):
        np.testing.assert_allclose(arrays.mean[place, 0], each.loc[0].detach()[kept], atol=1e-6)
        np.testing.assert_allclose(arrays.scale[place, 0], each.scale[0].detach()[kept], atol=1e-6)


def test_pairs_are_the_dimensions_that_move_furthest_from_the_prior() -> None:
    model = product()
    arrays = plot.PosteriorAgainstHMC.of(model, DATA, ascent=Gradient(40), hmc=FEW)
    best = YARDSTICK.mean_field({name: x[:1] for name, x in DATA.items()})
    informed = gaussian_kl(best.mean[0].numpy(), best.stddev[0].numpy(), np.zeros(3), np.ones(3))
    np.testing.assert_array_equal(arrays.dimensions, [np.argsort(-informed)[:2]])


def test_a_datum_is_looked_at_as_far_as_it_is_there() -> None:
    batch = Batch(DATA, {"b": torch.tensor([False, True])})
    assert plot.PosteriorAgainstHMC.of(product(), batch, **QUICK).subset == ("a", "c")
    mixture = models.MMVAE(YARDSTICK.modalities(), 3, family="normal")
    assert "moment-matched" in plot.PosteriorAgainstHMC.of(mixture, DATA, **QUICK).names[0]


def test_refusals() -> None:
    with pytest.raises(IndexError, match="row: 2 is outside the data, which has 2 rows"):
        plot.PosteriorAgainstHMC.of(product(), DATA, row=2)
    narrow = LinearGaussian.random({"a": 2}, latent_dim=1)
    with pytest.raises(ValueError, match="at least 2 latent dimensions"):
        plot.PosteriorAgainstHMC.of(models.MVAE(narrow.modalities(), 1), narrow.sample(1))
    with pytest.raises(TypeError, match="no generative program"):
        plot.PosteriorAgainstHMC.of(torch.nn.Linear(1, 1), DATA)


def test_ellipses_lie_one_and_two_standard_deviations_away() -> None:
    arrays = plot.PosteriorAgainstHMC(
        subset=("a",),
        dimensions=np.array([[4, 1], [0, 2]]),
        draws=np.random.default_rng(0).normal(size=(7, 2, 2)),
        names=["one", "other"],
        mean=np.arange(8.0).reshape(2, 2, 2),
        scale=1 + np.arange(8.0).reshape(2, 2, 2),
        r_hat=1.234,
        effective_sample_size=17.6,
    )
    figure = plot.posterior_against_hmc(arrays)
    assert len(figure.axes) == 2
    for place, ax in enumerate(figure.axes):
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), arrays.draws[:, place])
        ellipses = [patch for patch in ax.patches if isinstance(patch, Ellipse)]
        shown = [(*each.center, each.width / 2, each.height / 2) for each in ellipses]
        expected = [
            (*arrays.mean[turn, place], *(reach * arrays.scale[turn, place])) for turn in (0, 1) for reach in (1, 2)
        ]
        np.testing.assert_allclose(shown, expected)
    assert "latent dimension 4 " in figure.axes[0].get_xlabel()
    assert "7 draws: R-hat at most 1.23, effective sample size at least 18" in figure.get_supxlabel()
