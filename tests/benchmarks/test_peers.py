"""The comparison with MultiVae compares like with like."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("multivae", reason="MultiVae is not installed; see the extra 'peers'")

from agreement import compare
from exact_likelihood import errors, make_model, our_estimator, peer_estimator
from protocol import RECIPES

from mmvae.testing import LinearGaussian


@pytest.mark.parametrize("case", [case for case in RECIPES if case != "MMVAE K=10"])
def test_both_libraries_compute_the_same_loss_and_gradient(case):
    found = compare(case, batch_size=14)
    assert found.peer == pytest.approx(found.ours, rel=1e-5)
    assert found.gradient < 1e-3


def test_gradients_from_several_draws_differ_by_the_correction_alone():
    """The peer neglects the score of the mixture, for the encoders; their share of the gradient is small."""
    found = compare("MMVAE K=10", batch_size=2)
    assert found.decoders < 1e-3
    assert 1e-4 < found.gradient < 0.2


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE"])
def test_both_libraries_estimate_from_the_same_weights(kind):
    yardstick = LinearGaussian.orthogonal({"a": 3, "b": 3}, 2, seed=0)
    model = make_model(yardstick, kind, widening=0.3, noise=0.05)
    data = yardstick.sample(2, seed=1)
    exact = yardstick.log_likelihood(data)
    _, _, ours = errors(our_estimator(model), data, exact, num_samples=2000, seeds=2)
    assert ours < 0.1
    if kind not in ("MMVAE", "MoPoE"):  # whose draws come from one expert there
        torch.manual_seed(0)
        _, _, peer = errors(peer_estimator(model), data, exact, num_samples=2000, seeds=2)
        assert peer < 0.1
