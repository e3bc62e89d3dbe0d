"""Counts whose dispersion is so large that gamma functions cancel."""

from __future__ import annotations

import math

import pytest
import torch

from mmvae.distributions import LogNegativeBinomial
from mmvae.distributions.counts import _rest_of_stirling


@pytest.mark.parametrize("z", [100.0, 137.5, 1000.0])
def test_the_rest_of_stirlings_series_is_what_the_gamma_function_leaves(z: float) -> None:
    leading = (z - 0.5) * math.log(z) - z + 0.5 * math.log(2 * math.pi)
    assert float(_rest_of_stirling(torch.tensor(z, dtype=torch.float64))) == pytest.approx(
        math.lgamma(z) - leading, abs=2e-12 if z < 1000 else 2e-11
    )


@pytest.mark.parametrize("dispersion", [150.0, 5000.0])
@pytest.mark.parametrize("count", [0, 3, 60, 700])
def test_large_dispersions_are_exact_to_a_millionth_of_a_nat(dispersion: float, count: int) -> None:
    """By the formula with gamma functions, which float64 still carries here."""
    mean = 40.0
    expected = (
        math.lgamma(dispersion + count)
        - math.lgamma(dispersion)
        - math.lgamma(count + 1)
        + count * math.log(mean / (dispersion + mean))
        + dispersion * math.log(dispersion / (dispersion + mean))
    )
    log_mean, log_dispersion = (torch.tensor(math.log(each), dtype=torch.float64) for each in (mean, dispersion))
    found = LogNegativeBinomial(log_mean, log_dispersion).log_prob(torch.tensor(float(count), dtype=torch.float64))
    assert float(found) == pytest.approx(expected, abs=1e-6)
