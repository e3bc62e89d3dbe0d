"""Every probabilistic recipe on a linear-Gaussian model: bounds below the exact likelihood, estimates that find it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_abilities import PRIVATE, VAES

from mmvae import models
from mmvae.networks.heads import NormalHead
from mmvae.priors import GaussianMixture
from mmvae.subsets import powerset
from mmvae.testing import LinearGaussian
from mmvae.testing.exact_models import _diagonal_precision, _pulls, _set_head

SIZES = {"a": 4, "b": 5, "c": 4}
DRAWS = 20_000
OPTIONS: dict[str, dict[str, Any]] = {
    "MMVAE": {"family": "normal", "learned_prior_scale": False},
    "MMVAEPlus": {"family": "normal"},
    "CMVAE": {"num_clusters": 1},
    "MHVAE": {"levels": 1},
}
"""So that priors are standard normals."""


def on(yardstick: LinearGaussian, kind: str) -> Any:
    """A model with the true decoders, whose normal experts are the posteriors of single modalities."""
    torch.manual_seed(0)
    private = {"private_dim": dict(yardstick.layout.private)} if kind in PRIVATE else {}
    modalities = yardstick.modalities()
    model = getattr(models, kind)(modalities, latent_dim=yardstick.layout.shared, **private, **OPTIONS.get(kind, {}))
    for name in yardstick.names:
        head = model.experts.heads[name]
        assert isinstance(head, NormalHead)
        precision, own = _diagonal_precision(yardstick, (name,), 1.0), yardstick.layout.own(name)
        _set_head(head, _pulls(yardstick, (name,), precision)[name][own], precision[own], yardstick, name)
    for part in model.prior.modules():
        if isinstance(part, GaussianMixture):
            torch.nn.init.zeros_(part.loc)
    return model


@pytest.mark.parametrize("kind", VAES)
def test_estimates_of_the_likelihood_converge(kind: str) -> None:
    """For every subset, to the exact one; the ELBO of the joint posterior is below it."""
    yardstick = LinearGaussian.orthogonal(SIZES, 2, seed=3, private_dim=1 if kind in PRIVATE else None)
    data, model = yardstick.sample(4), on(yardstick, kind)
    torch.manual_seed(1)
    for subset in powerset(yardstick.names):
        exact = yardstick.log_likelihood(data, subset)
        weights = model.log_weights(data, subset, num_samples=DRAWS).double()
        shares = (weights - weights.amax(0)).exp()
        error = shares.std(0) / shares.mean(0) / DRAWS**0.5  # of the logarithm of a mean
        found = weights.logsumexp(0) - math.log(DRAWS)
        assert ((found - exact).abs() < 5 * error + 2e-3).all(), (subset, found - exact, error)
        assert (weights.mean(0) <= exact + 5 * weights.std(0) / DRAWS**0.5 + 2e-3).all(), subset
