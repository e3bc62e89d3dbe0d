"""The aggregate posterior against the prior: uniform where they agree, outside the band where not."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import kstest

from mmvae import Batch, plot
from mmvae.plotting.figures.calibration import marginal_cdf
from mmvae.vaes.base import MultimodalVAE


@pytest.mark.parametrize("family", [dist.Normal, dist.Laplace])
def test_draws_from_the_prior_are_uniform_and_stay_in_the_band(family: type) -> None:
    prior = family(torch.zeros(40), torch.logspace(-1, 1, 40)).to_event(1)
    arrays = plot.AggregateCalibration(("a",), marginal_cdf(prior, prior.sample((500,))).double().numpy())
    assert arrays.pit.min() > 0
    assert arrays.pit.max() < 1
    # Each dimension leaves with probability 0.05: more than 6 of 40 do so in 3 of 1000 cases.
    assert (arrays.distance > arrays.band).sum() <= 6


def test_distance_is_that_of_scipy_and_a_shift_leaves_the_band() -> None:
    torch.manual_seed(0)
    prior = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    pit = marginal_cdf(prior, prior.sample((500,)) + torch.tensor([0.0, 0.5])).double().numpy()
    arrays = plot.AggregateCalibration(("a",), pit)
    np.testing.assert_allclose(arrays.distance, [kstest(each, "uniform").statistic for each in pit.T], atol=1e-7)
    assert arrays.distance[1] > arrays.band


def test_lines_and_their_count(model: MultimodalVAE, batch: Batch) -> None:
    arrays = plot.AggregateCalibration.of(model, batch, "picture")
    assert arrays.pit.shape == (11, 4)  # one datum has no picture
    ax = plot.aggregate_calibration(arrays)
    lines = [line.get_xdata() for line in ax.get_lines()[:-1]]  # the last is the legend's
    assert len(lines) == 4
    np.testing.assert_array_equal(lines[0], np.sort(arrays.pit[:, 0]))


def test_the_seed_decides_and_the_generator_comes_back(model: MultimodalVAE, batch: Batch) -> None:
    state = torch.get_rng_state()
    one, same = (plot.AggregateCalibration.of(model, batch, seed=3).pit for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, plot.AggregateCalibration.of(model, batch, seed=4).pit)
    assert torch.equal(torch.get_rng_state(), state)
