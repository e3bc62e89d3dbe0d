"""KL per dimension and the posterior of a datum: the numbers of closed forms, and of the model."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from mmvae import Batch, models, plot
from mmvae.plotting.figures.posterior_moments import gaussian_kl
from mmvae.vaes.base import MultimodalVAE


def test_gaussian_kl_is_that_of_torch() -> None:
    mean, scale, prior_mean, prior_scale = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).double() + 0.1
    expected = torch.distributions.kl_divergence(dist.Normal(mean, scale), dist.Normal(prior_mean, prior_scale))
    found = gaussian_kl(mean.numpy(), scale.numpy(), prior_mean.numpy(), prior_scale.numpy())
    np.testing.assert_allclose(found, expected.numpy())


def test_kl_sums_to_that_of_the_elbo(model: MultimodalVAE, batch: Batch) -> None:
    arrays = plot.KLPerDimension.of(model, batch)
    assert arrays.exact
    assert arrays.subsets == [("picture",), ("codes",), ("vector",), ("picture", "codes", "vector")]
    posterior = model.eval().infer(batch).distribution
    expected = torch.distributions.kl_divergence(posterior, model.prior()).mean().detach()
    assert arrays.kl[-1].sum() == pytest.approx(float(expected), rel=1e-5)


def test_bars_are_sorted_and_marks_follow_them() -> None:
    arrays = plot.KLPerDimension(
        [("a",), ("a", "b")],
        np.array([[0.1, 0.2, 0.3], [1.0, 3.0, 2.0]]),
        np.array([[True, False, True], [True, True, False]]),
        True,
    )
    ax = plot.kl_per_dimension(arrays)
    assert [bar.get_height() for bar in ax.patches] == [3.0, 2.0, 1.0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "0"]
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), [0.2, 0.3, 0.1])
    assert len({bar.get_facecolor() for bar in ax.patches}) == 2  # the inactive dimension is pale
    assert "nats" in ax.get_ylabel()


def test_the_axis_says_so_where_moments_are_matched(model: MultimodalVAE, batch: Batch) -> None:
    mixture = models.MMVAE(model.modalities, 4)
    arrays = plot.KLPerDimension.of(mixture, batch)
    assert not arrays.exact
    assert "moment-matched" in plot.kl_per_dimension(arrays).get_ylabel()


def test_posterior_of_a_datum_is_that_of_the_model(model: MultimodalVAE, batch: Batch) -> None:
    arrays = plot.PosteriorOfDatum.of(model, batch, row=3)
    latents = model.eval().infer(batch[[3]], "codes")
    place = arrays.subsets.index(("codes",))
    np.testing.assert_allclose(arrays.mean[place], latents.mean[0].detach()[arrays.dimensions], atol=1e-6)
    np.testing.assert_allclose(arrays.scale[place], latents.scale[0].detach()[arrays.dimensions], atol=1e-6)
    ax = plot.posterior_of_datum(arrays)
    shown = ax.containers[1 + place]  # the prior comes first
    np.testing.assert_allclose(shown.lines[0].get_ydata(), arrays.mean[place])


def test_subsets_that_the_datum_lacks_are_left_out(model: MultimodalVAE, batch: Batch) -> None:
    assert ("picture",) not in plot.PosteriorOfDatum.of(model, batch, row=2).subsets
    with pytest.raises(IndexError, match="row: 12 is outside"):
        plot.PosteriorOfDatum.of(model, batch, row=12)


def test_only_the_most_informed_dimensions_are_kept(model: MultimodalVAE, batch: Batch) -> None:
    everything = plot.PosteriorOfDatum.of(model, batch, dimensions=4)
    informed = gaussian_kl(everything.mean[-1], everything.scale[-1], np.zeros(4), np.ones(4))
    best_two = np.sort(np.argsort(-informed)[:2])
    np.testing.assert_array_equal(plot.PosteriorOfDatum.of(model, batch, dimensions=2).dimensions, best_two)


def test_point_masses_have_no_spread_to_show(classifier: models.CMPT, pair: Batch) -> None:
    with pytest.raises(ValueError, match="CMPT: its posteriors are point masses"):
        plot.PosteriorOfDatum.of(classifier, pair)
